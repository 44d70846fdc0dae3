// The second step of sampling (sample_call.h): rows that draw, and the most likely tokens.
// bytes: 4 * L * V for rows that draw; for others none but the listed chunks.
#include <algorithm>

#include "kernels/cuda/sample_select.cuh"

namespace switchyard::cuda {
namespace {

__device__ __forceinline__ uint64_t sum_of_warp(uint64_t value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(~0u, value, offset);
  return value;
}

// This block's part of the row, into the row's bins.
__device__ void fill_bins(const SampleCall& call,
                          int row,
                          const float* logits,
                          const Masses& masses,
                          DrawMemory& memory) {
  memory.row.clear();
  __syncthreads();
  const int lane = threadIdx.x % 32;
  const int step = static_cast<int>(gridDim.x) * kDrawWarps;
  int c = static_cast<int>(blockIdx.x * kDrawWarps + threadIdx.x / 32);
  Chunk ahead;
  ahead.load(call, logits, c);
  for (; c < call.chunks; c += step) {
    const Chunk chunk = ahead;
    ahead.load(call, logits, c + step);
    const float largest = max_of_warp(chunk.largest());
    if (lane == 0) call.chunk_largest[int64_t{row} * call.chunks + c] = largest;
#pragma unroll
    for (int i = 0; i < kChunkEach; ++i) {
      const int bin = masses.bin(chunk.logit[i]);
      if (bin < kBins) memory.row.add(bin, masses.mass(chunk.logit[i]));
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kBins; i += kDrawThreads) {
    if (memory.row.count[i] == 0) continue;
    auto* mass = reinterpret_cast<unsigned long long*>(call.bin_mass + int64_t{row} * kBins + i);
    atomicAdd(mass, memory.row.mass(i));
    atomicAdd(call.bin_count + int64_t{row} * kBins + i, memory.row.count[i]);
  }
}

// This block's part of the row, as the masses of its chunks.
__device__ void weigh_chunks(const SampleCall& call,
                             int row,
                             const float* logits,
                             const Masses& masses) {
  const int lane = threadIdx.x % 32;
  const int step = static_cast<int>(gridDim.x) * kDrawWarps;
  int c = static_cast<int>(blockIdx.x * kDrawWarps + threadIdx.x / 32);
  Chunk ahead;
  ahead.load(call, logits, c);
  for (; c < call.chunks; c += step) {
    const Chunk chunk = ahead;
    ahead.load(call, logits, c + step);
    uint64_t mass = 0;
#pragma unroll
    for (int i = 0; i < kChunkEach; ++i) {
      if (masses.kept(chunk.logit[i])) mass += masses.mass(chunk.logit[i]);
    }
    mass = sum_of_warp(mass);
    if (lane == 0) call.chunk_mass[int64_t{row} * call.chunks + c] = mass;
  }
}

// Draws in the order of ids: first the chunk, then the token in it.
__device__ int32_t draw_any(const SampleCall& call,
                            int row,
                            const SampleRow& rule,
                            const float* logits,
                            const Masses& masses,
                            DrawMemory& memory) {
  const uint64_t* chunk_mass = call.chunk_mass + int64_t{row} * call.chunks;
  const int each = (call.chunks + kDrawThreads - 1) / kDrawThreads;
  const int first = min(static_cast<int>(threadIdx.x) * each, call.chunks);
  const int end = min(first + each, call.chunks);
  Total mine;
  for (int c = first; c < end; ++c) mine.mass += __ldcg(chunk_mass + c);
  if (threadIdx.x == 0) {
    memory.crossing.found = false;
    memory.token = -1;
  }
  Total whole;
  Total before = sum_before(memory, mine, whole);
  const uint64_t limit = drawn_limit(rule, whole.mass);
  if (before.mass <= limit && limit < before.mass + mine.mass) {
    int c = first;
    for (; c + 1 < end; ++c) {
      const uint64_t mass = __ldcg(chunk_mass + c);
      if (limit < before.mass + mass) break;
      before.mass += mass;
    }
    memory.crossing = {true, c, before, {}};
  }
  __syncthreads();
  if (threadIdx.x < 32 && memory.crossing.found) {
    const int lane = static_cast<int>(threadIdx.x);
    uint64_t sum = memory.crossing.before.mass;
    for (int i = 0; i < kSampleChunk; i += 32) {
      const int token = memory.crossing.bin * kSampleChunk + i + lane;
      const float logit = token < call.vocabulary ? __ldcg(logits + token) : -kInfinity;
      uint64_t through = masses.kept(logit) ? masses.mass(logit) : 0;
#pragma unroll
      for (int offset = 1; offset < 32; offset *= 2) {
        const uint64_t other = __shfl_up_sync(~0u, through, offset);
        if (lane >= offset) through += other;
      }
      const unsigned beyond = __ballot_sync(~0u, sum + through > limit);
      if (beyond != 0) {
        if (lane == __ffs(static_cast<int>(beyond)) - 1) memory.token = token;
        break;
      }
      sum += __shfl_sync(~0u, through, 31);
    }
  }
  __syncthreads();
  return memory.token;
}

// Brings the likely tokens, all that top_k and top_p can leave, into shared memory if they fit.
__device__ void list_candidates(const SampleRow& rule, Candidates& from, const Total& whole) {
  DrawMemory& memory = from.memory;
  Crossing last;
  if (limits_k(rule, from.call.vocabulary)) {
    last = cross(memory, memory.row, By::kCount, static_cast<uint64_t>(rule.top_k - 1));
  } else {
    last =
        cross(memory, memory.row, By::kMass, min(whole.mass - 1, nucleus_limit(rule, whole.mass)));
  }
  const uint32_t count = last.found ? last.before.count + last.in_bin.count : whole.count;
  const int last_bin = last.found ? last.bin : kBins - 1;
  list_bins(from, 0, last_bin, count);
}

// Draws in the order of likelihood from few listed candidates, a thread for each: sorted by
// counting those before each, then one sum over all.
__device__ int32_t draw_few(const SampleRow& rule, const Candidates& from, uint64_t total) {
  DrawMemory& memory = from.memory;
  const int count = memory.listed_count;
  const int i = static_cast<int>(threadIdx.x);
  Candidate* sorted = memory.listed + kDrawThreads;
  auto* through = reinterpret_cast<uint64_t*>(&memory.digits);
  if (i < count) {
    const Candidate listed = memory.listed[i];
    const Ranked mine = {listed.logit, listed.token};
    int place = 0;
    for (int j = 0; j < count; ++j) {
      place += Ranked{memory.listed[j].logit, memory.listed[j].token}.before(mine) ? 1 : 0;
    }
    sorted[place] = listed;
  }
  __syncthreads();
  Total mine, whole;
  if (i < count) mine.mass = from.masses.mass(sorted[i].logit);
  const uint64_t sum = sum_before(memory, mine, whole).mass + mine.mass;
  if (i < count) through[i] = sum;
  __syncthreads();
  if (limits_k(rule, from.call.vocabulary)) total = through[min(rule.top_k, count) - 1];
  if (rule.top_p < 1) {
    const int less = __syncthreads_count(i < count && sum <= nucleus_limit(rule, total));
    total = min(total, through[min(less, count - 1)]);
  }
  if (rule.min_p > 0) {
    const int kept = __syncthreads_count(i < count && from.masses.kept(sorted[i].logit));
    total = min(total, through[kept - 1]);
  }
  const int less = __syncthreads_count(i < count && sum <= drawn_limit(rule, total));
  return sorted[min(less, count - 1)].token;
}

// Draws in the order of likelihood, from what top_k, then top_p, then min_p leave.
__device__ int32_t draw_ranked(const SampleCall& call,
                               int row,
                               const SampleRow& rule,
                               const float* logits,
                               const Masses& masses,
                               DrawMemory& memory) {
  Total mine;
  for (int i = threadIdx.x; i < kBins; i += kDrawThreads) {
    const uint64_t mass = __ldcg(call.bin_mass + int64_t{row} * kBins + i);
    memory.row.low[i] = static_cast<uint32_t>(mass);
    memory.row.high[i] = static_cast<uint32_t>(mass >> 32);
    memory.row.count[i] = __ldcg(call.bin_count + int64_t{row} * kBins + i);
    mine.mass += mass;
    mine.count += memory.row.count[i];
  }
  Total whole;
  sum_before(memory, mine, whole);
  uint64_t total = whole.mass;  // the largest logit has 2^40
  Candidates from = {call,   logits, call.chunk_largest + int64_t{row} * call.chunks,
                     masses, memory, false};
  list_candidates(rule, from, whole);
  if (from.listed && memory.listed_count <= kDrawThreads) return draw_few(rule, from, total);
  if (limits_k(rule, call.vocabulary)) {
    const Place last = find(from, By::kCount, static_cast<uint64_t>(rule.top_k - 1));
    if (last.found) total = last.mass_through;
  }
  if (rule.top_p < 1) {
    const Place last = find(from, By::kMass, nucleus_limit(rule, total));
    if (last.found) total = min(total, last.mass_through);
  }
  if (rule.min_p > 0) {
    Total kept;
    from.each(kBins - 1, [&](float logit, int) {
      if (masses.kept(logit)) kept.mass += masses.mass(logit);
    });
    sum_before(memory, kept, whole);
    total = min(total, whole.mass);
  }
  const Place drawn = find(from, By::kMass, drawn_limit(rule, total));
  return drawn.found ? token_at(from, drawn) : -1;
}

// The most likely tokens by the logits before edits. They are in the `wanted` chunks whose largest
// rank first: of those, what reaches the least of these is listed and ranked by counting.
__device__ void list_tops(const SampleCall& call,
                          int row,
                          const SampleRow& rule,
                          float* logits,
                          double normaliser,
                          DrawMemory& memory) {
  auto* largest = reinterpret_cast<float*>(&memory.digits);
  static_assert(kMaxVocabulary / kSampleChunk * sizeof(float) <= sizeof(memory.digits));
  static_assert(kMaxTops * kSampleChunk <= kListed);
  __shared__ int chosen[kMaxTops];
  const int lane = threadIdx.x % 32;
  const int tops = min(rule.top_logprobs, call.tops);
  if (tops <= 0) return;
  const int wanted = min(tops, call.chunks);
  __syncthreads();
  for (int i = rule.edit_begin + static_cast<int>(threadIdx.x); i < rule.edit_end;
       i += kDrawThreads) {
    const int token = call.edits[i].token;
    if (token >= 0 && token < call.vocabulary) logits[token] = __ldcg(call.replaced + i);
  }
  for (int c = threadIdx.x; c < call.chunks; c += kDrawThreads) {
    largest[c] = __ldcg(call.raw_largest + int64_t{row} * call.chunks + c);
  }
  if (threadIdx.x == 0) memory.listed_count = 0;
  __syncthreads();
  // Bit by bit, the largest bound that `wanted` chunks reach; then those that do, the first of
  // equal ones.
  const int each = (call.chunks + kDrawThreads - 1) / kDrawThreads;
  const int first = min(static_cast<int>(threadIdx.x) * each, call.chunks);
  const int end = min(first + each, call.chunks);
  uint32_t bound = 0;
  for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
    int reaching = 0;
    for (int i = 0; i < each; ++i) {
      const bool there = first + i < end && ~key_of(largest[first + i]) >= (bound | bit);
      reaching += __syncthreads_count(there);
    }
    if (reaching >= wanted) bound |= bit;
  }
  Total above, equal, whole;
  for (int c = first; c < end; ++c) {
    const uint32_t key = ~key_of(largest[c]);
    above.count += key > bound ? 1 : 0;
    equal.count += key == bound ? 1 : 0;
  }
  uint32_t place = sum_before(memory, above, whole).count;
  uint32_t equal_place = whole.count;
  equal_place += sum_before(memory, equal, whole).count;
  for (int c = first; c < end; ++c) {
    const uint32_t key = ~key_of(largest[c]);
    if (key < bound) continue;
    const uint32_t at = key > bound ? place++ : equal_place++;
    if (at < static_cast<uint32_t>(wanted)) chosen[at] = c;
  }
  __syncthreads();
  const float least = tops > wanted ? -kInfinity : largest[chosen[wanted - 1]];
  for (int n = static_cast<int>(threadIdx.x) / 32; n < wanted; n += kDrawWarps) {
    Chunk chunk;
    chunk.load(call, logits, chosen[n]);
#pragma unroll
    for (int i = 0; i < kChunkEach; ++i) {
      if (chunk.logit[i] >= least && chunk.logit[i] > -kInfinity) {
        memory.listed[atomicAdd(&memory.listed_count, 1)] = {
            chunk.logit[i], Chunk::token(call, chosen[n], i, lane)};
      }
    }
  }
  __syncthreads();
  const int count = memory.listed_count;
  for (int i = threadIdx.x; i < count; i += kDrawThreads) {
    const Ranked mine = {memory.listed[i].logit, memory.listed[i].token};
    int place = 0;
    for (int j = 0; j < count; ++j) {
      place += Ranked{memory.listed[j].logit, memory.listed[j].token}.before(mine) ? 1 : 0;
    }
    if (place >= tops) continue;
    call.top_token[row * call.tops + place] = mine.token;
    call.top_logprob[row * call.tops + place] = log_probability(mine.logit, normaliser);
  }
}

// Both halves in one step for few rows. For many rows each is a step: weighing all logits needs
// many warps, and drawing needs more registers than these would have.
template <bool kWeigh, bool kDraw>
__global__ void __launch_bounds__(kDrawThreads, kDraw ? 1 : 2) draw(SampleCall call) {
  extern __shared__ __align__(16) unsigned char bytes[];
  auto& memory = *reinterpret_cast<DrawMemory*>(bytes);  // without kDraw only memory.row is there
  let_next_start();
  wait_for_previous();
  const int row = static_cast<int>(blockIdx.y);
  const SampleSummary summary = call.summary[row];
  const SampleRow rule = call.rule[row];
  float* logits = call.logits + int64_t{row} * call.vocabulary;
  if (summary.token < 0) return;
  const Choice choice = choice_of(rule, call.vocabulary);
  const float inverse_temperature = fminf(__fdiv_rn(1.0f, rule.temperature), FLT_MAX);
  const Masses masses = {summary.largest, inverse_temperature, rule.min_p};
  if constexpr (kWeigh) {
    if (choice == Choice::kRanked) fill_bins(call, row, logits, masses, memory);
    if (choice == Choice::kAnyToken) weigh_chunks(call, row, logits, masses);
  }
  if constexpr (kDraw) {
    if (choice == Choice::kGreedy) {
      if (blockIdx.x == 0) list_tops(call, row, rule, logits, summary.normaliser, memory);
      return;
    }
    if (kWeigh && !is_last(call.counter + row, gridDim.x)) return;
    int32_t token = choice == Choice::kRanked ? draw_ranked(call, row, rule, logits, masses, memory)
                                              : draw_any(call, row, rule, logits, masses, memory);
    if (token < 0) token = summary.token;  // nothing had a mass
    if (threadIdx.x == 0) call.token[row] = token;
    if (rule.want_logprob != 0) {
      const float logprob = log_probability(raw_logit(call, row, token), summary.normaliser);
      if (threadIdx.x == 0) call.logprob[row] = logprob;
    }
    list_tops(call, row, rule, logits, summary.normaliser, memory);
  }
}

}  // namespace

void draw_rows(const Stream& on, const SampleCall& call) {
  constexpr int kManyRows = 32;
  // Two blocks a multiprocessor, but a chunk for each warp.
  const int64_t most = ceil_div(call.chunks, kDrawWarps);
  const auto blocks =
      static_cast<unsigned>(std::clamp<int64_t>(2 * on.multiprocessors / call.rows, 1, most));
  const auto rows = static_cast<unsigned>(call.rows);
  constexpr auto kMemory = static_cast<int64_t>(sizeof(DrawMemory));
  if (call.rows < kManyRows) {
    launch(on, draw<true, true>, dim3(blocks, rows), kDrawThreads, kMemory, call);
    return;
  }
  launch(on, draw<true, false>, dim3(blocks, rows), kDrawThreads,
         static_cast<int64_t>(sizeof(Bins)), call);
  launch(on, draw<false, true>, dim3(1, rows), kDrawThreads, kMemory, call);
}

}  // namespace switchyard::cuda
