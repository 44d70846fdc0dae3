// The first step of sampling (sample_call.h). bytes: 4 * L * V, and again where a row has edits.
#include "kernels/cuda/sample_row.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

// log of a sum of exponentials, taken piece by piece.
struct LogMass {
  float largest = -FLT_MAX;
  float mass = 0;  // of exp(logit - largest)

  __device__ __forceinline__ void add(const Chunk& chunk) {
    const float now = fmaxf(largest, chunk.largest());
    mass *= expf(largest - now);
#pragma unroll
    for (int i = 0; i < kChunkEach; ++i) mass += expf(chunk.logit[i] - now);
    largest = now;
  }
  __device__ __forceinline__ void add(const LogMass& other) {
    const float now = fmaxf(largest, other.largest);
    mass = mass * expf(largest - now) + other.mass * expf(other.largest - now);
    largest = now;
  }
  __device__ __forceinline__ void add_over_warp() {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
      LogMass other;
      other.largest = __shfl_xor_sync(~0u, largest, offset);
      other.mass = __shfl_xor_sync(~0u, mass, offset);
      add(other);
    }
  }
};

// What a thread, then a warp, then a block, then a row knows.
struct Scan {
  Ranked best;
  bool broken = false;
  LogMass raw;

  __device__ __forceinline__ void look(const SampleCall& call, const Chunk& chunk, int number) {
#pragma unroll
    for (int i = 0; i < kChunkEach; ++i) {
      broken = broken || !(chunk.logit[i] < kInfinity);
      if (chunk.logit[i] > best.logit) {  // ids rise
        best = {chunk.logit[i], Chunk::token(call, number, i, static_cast<int>(threadIdx.x) % 32)};
      }
    }
  }
  __device__ __forceinline__ void join_warp(bool probabilities) {
    best = best.first_of_warp();
    broken = __any_sync(~0u, broken);
    if (probabilities) raw.add_over_warp();
  }
  __device__ __forceinline__ void join(const SamplePart& part, bool probabilities) {
    best.take({part.largest, part.token});
    broken = broken || part.broken != 0;
    if (probabilities) raw.add(LogMass{part.raw_largest, part.raw_mass});
  }
  [[nodiscard]] __device__ __forceinline__ SamplePart part() const {
    return {best.logit, best.token, broken ? 1 : 0, raw.largest, raw.mass};
  }
};

__device__ __forceinline__ float edited(float logit, const SampleRow& rule, const LogitEdit& edit) {
  // Rounded at each step, as on the CPU.
  if (edit.seen != 0 && rule.repetition_penalty != 1) {
    logit = logit > 0 ? __fdiv_rn(logit, rule.repetition_penalty)
                      : __fmul_rn(logit, rule.repetition_penalty);
  }
  if (edit.output_count > 0) {
    const float by = __fmul_rn(rule.frequency_penalty, static_cast<float>(edit.output_count));
    logit = __fsub_rn(__fsub_rn(logit, by), rule.presence_penalty);
  }
  return __fadd_rn(logit, edit.bias);
}

__device__ void apply_edits(
    const SampleCall& call, const SampleRow& rule, float* row, int first_token, int end_token) {
  for (int i = rule.edit_begin + static_cast<int>(threadIdx.x); i < rule.edit_end; i += kThreads) {
    const LogitEdit edit = call.edits[i];
    if (edit.token < first_token || edit.token >= end_token) continue;
    const float logit = __ldcg(row + edit.token);
    call.replaced[i] = logit;
    row[edit.token] = edited(logit, rule, edit);
  }
}

// All parts of the row, joined by one warp in a fixed order.
__device__ void finish_row(const SampleCall& call,
                           int row,
                           const SampleRow& rule,
                           bool probabilities) {
  __shared__ SampleSummary summary;
  if (threadIdx.x < 32) {
    Scan scan;
    for (unsigned p = threadIdx.x; p < gridDim.x; p += 32) {
      const SamplePart* part = call.part + row * gridDim.x + p;
      scan.join({__ldcg(&part->largest), __ldcg(&part->token), __ldcg(&part->broken),
                 __ldcg(&part->raw_largest), __ldcg(&part->raw_mass)},
                probabilities);
    }
    scan.join_warp(probabilities);
    if (threadIdx.x == 0) {
      const bool nothing = scan.broken || scan.best.logit == -kInfinity;
      summary.largest = scan.best.logit;
      summary.token = nothing ? -1 : scan.best.token;
      summary.normaliser = static_cast<double>(scan.raw.largest) +
                           (probabilities ? log(static_cast<double>(scan.raw.mass)) : 0.0);
      call.summary[row] = summary;
      call.token[row] = summary.token;
    }
  }
  for (int i = threadIdx.x; i < call.tops; i += kThreads) {
    call.top_token[row * call.tops + i] = -1;
    call.top_logprob[row * call.tops + i] = 0;
  }
  __syncthreads();
  float logprob = 0;
  if (rule.want_logprob != 0 && summary.token >= 0) {
    logprob = log_probability(raw_logit(call, row, summary.token), summary.normaliser);
  }
  if (threadIdx.x == 0) call.logprob[row] = logprob;
}

__global__ void __launch_bounds__(kThreads) scan(SampleCall call) {
  __shared__ SamplePart of_warp[kWarps];
  let_next_start();
  wait_for_previous();
  const int row = static_cast<int>(blockIdx.y);
  const int block = static_cast<int>(blockIdx.x);
  const int blocks = static_cast<int>(gridDim.x);
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  float* logits = call.logits + int64_t{row} * call.vocabulary;
  const int per_block = (call.chunks + blocks - 1) / blocks;
  const int first = min(block * per_block, call.chunks);
  const int end = min(first + per_block, call.chunks);
  Chunk ahead;  // the next chunk is under way while one is looked at, the first from the start
  ahead.load(call, logits, first + warp);
  const SampleRow rule = call.rule[row];
  const bool probabilities = rule.want_logprob != 0 || rule.top_logprobs > 0;
  const bool edits = rule.edit_end > rule.edit_begin;

  if (choice_of(rule, call.vocabulary) == Choice::kRanked) {
    for (int i = block * kThreads + static_cast<int>(threadIdx.x); i < kBins;
         i += blocks * kThreads) {
      call.bin_mass[int64_t{row} * kBins + i] = 0;
      call.bin_count[int64_t{row} * kBins + i] = 0;
    }
  }
  Scan mine;
  for (int c = first + warp; c < end && (probabilities || !edits); c += kWarps) {
    const Chunk chunk = ahead;
    if (c + kWarps < end) ahead.load(call, logits, c + kWarps);
    if (!edits) mine.look(call, chunk, c);
    if (probabilities) mine.raw.add(chunk);
    if (rule.top_logprobs > 0) {
      const float largest = max_of_warp(chunk.largest());
      if (lane == 0) call.raw_largest[int64_t{row} * call.chunks + c] = largest;
    }
  }
  if (edits) {
    __syncthreads();
    apply_edits(call, rule, logits, first * kSampleChunk, min(end * kSampleChunk, call.vocabulary));
    __syncthreads();
    for (int c = first + warp; c < end; c += kWarps) {
      Chunk chunk;
      chunk.load(call, logits, c);
      mine.look(call, chunk, c);
    }
  }
  mine.join_warp(probabilities);
  if (lane == 0) of_warp[warp] = mine.part();
  __syncthreads();
  if (warp == 0) {
    Scan all;
    if (lane < kWarps) all.join(of_warp[lane], probabilities);
    all.join_warp(probabilities);
    if (lane == 0) call.part[row * blocks + block] = all.part();
  }
  if (is_last(call.counter + row, gridDim.x)) finish_row(call, row, rule, probabilities);
}

}  // namespace

void scan_rows(const Stream& on, const SampleCall& call, int blocks) {
  launch(on, scan, dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(call.rows)), kThreads,
         0, call);
}

}  // namespace switchyard::cuda
