// The second step of sampling (sample_call.h): rows that draw, and the most likely tokens.
// bytes: 4 * L * V for rows that draw; for others none but the listed chunks.
#include <algorithm>

#include "kernels/cuda/sample_select.cuh"

namespace switchyard::cuda {
namespace {

// Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random
// numbers: as easy as 1, 2, 3" (SC 2011); the CPU backend's numbers.
__device__ double draw_uniform(const SampleRow& rule) {
  uint32_t c0 = static_cast<uint32_t>(rule.position);
  uint32_t c1 = 0, c2 = 0, c3 = 0;
  uint32_t k0 = rule.seed_low, k1 = rule.seed_high;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * c0;
    const uint64_t product1 = uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ k0;
    c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(product1);
    c3 = static_cast<uint32_t>(product0);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return static_cast<double>(((uint64_t{c0} << 32) | c1) >> 11) * 0x1p-53;
}

// The sum that a draw must exceed: below `total`, unless that is 0.
__device__ __forceinline__ uint64_t drawn_limit(const SampleRow& rule, uint64_t total) {
  const auto limit = static_cast<uint64_t>(draw_uniform(rule) * static_cast<double>(total));
  return total > 0 && limit >= total ? total - 1 : limit;
}

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
  for (int c = static_cast<int>(blockIdx.x * kDrawWarps + threadIdx.x / 32); c < call.chunks;
       c += static_cast<int>(gridDim.x) * kDrawWarps) {
    Chunk chunk;
    chunk.load(call, logits, c);
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
  for (int c = static_cast<int>(blockIdx.x * kDrawWarps + threadIdx.x / 32); c < call.chunks;
       c += static_cast<int>(gridDim.x) * kDrawWarps) {
    Chunk chunk;
    chunk.load(call, logits, c);
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
    const double wanted = static_cast<double>(whole.mass) * static_cast<double>(rule.top_p);
    last = cross(memory, memory.row, By::kMass, min(whole.mass - 1, static_cast<uint64_t>(wanted)));
  }
  const uint32_t count = last.found ? last.before.count + last.in_bin.count : whole.count;
  const int last_bin = last.found ? last.bin : kBins - 1;
  if (count > kListed) return;
  if (threadIdx.x == 0) memory.listed_count = 0;
  __syncthreads();
  from.each(last_bin, [&](float logit, int token) {
    if (from.masses.bin(logit) <= last_bin) {
      memory.listed[atomicAdd(&memory.listed_count, 1)] = {logit, token};
    }
  });
  __syncthreads();
  from.listed = true;
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
  if (limits_k(rule, call.vocabulary)) {
    const Place last = find(from, By::kCount, static_cast<uint64_t>(rule.top_k - 1));
    if (last.found) total = last.mass_through;
  }
  if (rule.top_p < 1) {
    const double wanted = ceil(static_cast<double>(total) * static_cast<double>(rule.top_p));
    const Place last = find(from, By::kMass, wanted > 1 ? static_cast<uint64_t>(wanted) - 1 : 0);
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

// The most likely tokens by the logits before edits, one after the other: the best chunk, the best
// of it that is not listed yet, and what remains of that chunk.
__device__ void list_tops(const SampleCall& call,
                          int row,
                          const SampleRow& rule,
                          float* logits,
                          double normaliser,
                          DrawMemory& memory) {
  auto* largest = reinterpret_cast<float*>(memory.listed);  // of each chunk, what is not listed yet
  static_assert(kMaxVocabulary / kSampleChunk * sizeof(float) <= sizeof(memory.listed));
  __shared__ Ranked of_warp[kDrawWarps];
  const int lane = threadIdx.x % 32;
  __syncthreads();
  for (int i = rule.edit_begin + static_cast<int>(threadIdx.x); i < rule.edit_end;
       i += kDrawThreads) {
    const int token = call.edits[i].token;
    if (token >= 0 && token < call.vocabulary) logits[token] = __ldcg(call.replaced + i);
  }
  for (int c = threadIdx.x; c < call.chunks; c += kDrawThreads) {
    largest[c] = __ldcg(call.raw_largest + int64_t{row} * call.chunks + c);
  }
  __syncthreads();
  Ranked last = {kInfinity, -1};
  for (int n = 0; n < min(rule.top_logprobs, call.tops); ++n) {
    Ranked best;
    for (int c = threadIdx.x; c < call.chunks; c += kDrawThreads) best.take({largest[c], c});
    best = best.first_of_warp();
    if (lane == 0) of_warp[threadIdx.x / 32] = best;
    __syncthreads();
    for (int w = 0; w < kDrawWarps; ++w) best.take(of_warp[w]);
    if (best.logit == -kInfinity) return;
    const int number = best.token;
    Chunk chunk;
    chunk.load(call, logits, number);
    const auto first_behind = [&](const Ranked& bound) {
      Ranked first;
#pragma unroll
      for (int i = 0; i < kChunkEach; ++i) {
        const Ranked entry = {chunk.logit[i], Chunk::token(call, number, i, lane)};
        if (bound.before(entry)) first.take(entry);
      }
      return first.first_of_warp();
    };
    last = first_behind(last);
    const Ranked next = first_behind(last);
    __syncthreads();
    if (threadIdx.x == 0) {
      largest[number] = next.logit;
      call.top_token[row * call.tops + n] = last.token;
      call.top_logprob[row * call.tops + n] = log_probability(last.logit, normaliser);
    }
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kDrawThreads, 1) draw(SampleCall call) {
  extern __shared__ __align__(16) unsigned char bytes[];
  auto& memory = *reinterpret_cast<DrawMemory*>(bytes);
  let_next_start();
  wait_for_previous();
  const int row = static_cast<int>(blockIdx.y);
  const SampleSummary summary = call.summary[row];
  const SampleRow rule = call.rule[row];
  float* logits = call.logits + int64_t{row} * call.vocabulary;
  if (summary.token < 0) return;
  const Choice choice = choice_of(rule, call.vocabulary);
  if (choice == Choice::kGreedy) {
    if (rule.top_logprobs > 0 && blockIdx.x == 0) {
      list_tops(call, row, rule, logits, summary.normaliser, memory);
    }
    return;
  }
  const Masses masses = {summary.largest, fminf(__fdiv_rn(1.0f, rule.temperature), FLT_MAX),
                         rule.min_p};
  if (choice == Choice::kRanked) {
    fill_bins(call, row, logits, masses, memory);
  } else {
    weigh_chunks(call, row, logits, masses);
  }
  if (!is_last(call.counter + row, gridDim.x)) return;
  int32_t token = choice == Choice::kRanked ? draw_ranked(call, row, rule, logits, masses, memory)
                                            : draw_any(call, row, rule, logits, masses, memory);
  if (token < 0) token = summary.token;  // a temperature so low that not even the largest has mass
  if (threadIdx.x == 0) call.token[row] = token;
  if (rule.want_logprob != 0) {
    const float logprob = log_probability(raw_logit(call, row, token), summary.normaliser);
    if (threadIdx.x == 0) call.logprob[row] = logprob;
  }
  if (rule.top_logprobs > 0) list_tops(call, row, rule, logits, summary.normaliser, memory);
}

}  // namespace

void draw_rows(const Stream& on, const SampleCall& call) {
  // Two blocks fit a multiprocessor; a chunk for each warp.
  const int64_t most = ceil_div(call.chunks, kDrawWarps);
  const int64_t blocks = std::clamp<int64_t>(2 * on.multiprocessors / call.rows, 1, most);
  launch(on, draw, dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(call.rows)),
         kDrawThreads, static_cast<int64_t>(sizeof(DrawMemory)), call);
}

}  // namespace switchyard::cuda
