// How a unit of the held kernel ends: blocks exchange sums, and each finishes its own tokens.
// Device code only.
#pragma once

#include "kernels/cuda/sm90/wide_held_load.cuh"

namespace switchyard::cuda {
namespace {

// The end of a unit: sums change hands, and each block writes what it owns.
template <typename Shape>
class HeldFinish {
 public:
  using Sums = float[Shape::kStreams][Shape::kBlocks][4];
  using Weights = ScaledTile<Shape::kFormat>;

  __device__ __forceinline__ HeldFinish(const HeldArgs& args,
                                        const HeldPart& part,
                                        const HeldBarriers<Shape>& barriers,
                                        char* shared)
      : args_(args),
        part_(part),
        barriers_(barriers),
        shared_(shared),
        mine_(args.sums_at + static_cast<int>(threadIdx.x) * 16) {}

  // Fetches early what is added to this thread's outputs of a block of tokens.
  __device__ __forceinline__ void expect(int unit, int block) {
    if (Shape::kStreams == 2 || args_.residual == nullptr) return;
    const HeldMatrix& matrix = args_.matrix[0];
    const int first_row = row_of(unit, matrix), first_token = token_of(block);
    const auto* bits = reinterpret_cast<const uint16_t*>(args_.residual);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      residual_[h] = 0;
      const int row = first_row + h * 8;
      const int64_t from = int64_t{first_token} * matrix.rows + row;
      if (row >= matrix.rows) continue;
      if (first_token < args_.tokens) residual_[h] = bits[from];
      if (first_token + 1 < args_.tokens) {
        residual_[h] |= static_cast<uint32_t>(bits[from + matrix.rows]) << 16;
      }
    }
  }
  // A warp's part of a unit, the cluster's `round`-th; writes and clears `sum`.
  __device__ __forceinline__ void run(Sums& sum, int unit, int round, bool last) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const bool alone = part_.splits == 1;
    if (!alone) {
      if (round > 0) wait_for_phase(barriers_.read(), round - 1);
      if (lane == 0) {
        expect_bytes(barriers_.sums(), (part_.splits - 1) * part_.owned * Shape::kStreams * 512);
      }
      send_others(sum);
    }
    if (!alone) wait_for_phase(barriers_.sums(), round);
    if (!alone && round == 0 && args_.gain != nullptr) wait_for_phase(barriers_.squares(), 0);
    if (args_.out_f32) {
      write<float>(sum, unit);
    } else {
      write<__nv_bfloat16>(sum, unit);
    }
#pragma unroll
    for (auto& stream : sum) {
#pragma unroll
      for (auto& block : stream) block[0] = block[1] = block[2] = block[3] = 0;
    }
    __syncwarp();
    if (!last && lane > 0 && lane < part_.splits) {
      arrive_there(address_in(part_.peer(lane), barriers_.read()));
    }
    __syncwarp();
  }

 private:
  // Bytes between what blocks of eight tokens have of all streams.
  [[nodiscard]] static __device__ __forceinline__ constexpr int at(int block) {
    return block * Shape::kStreams * Shape::kThreads * 16;
  }

  __device__ __forceinline__ void send_others(const Sums& sum) const {
    const uint32_t from = shared_address(shared_) + mine_;
#pragma unroll
    for (int n = 1; n < Shape::kBlocks; ++n) {
      if (n < part_.owned) continue;
      const int distance = n >> part_.owned_shift;
      const int owner = part_.peer(distance);
      const int block = n & (part_.owned - 1);
      // This block is splits - distance behind the owner, which keeps nothing of its own here.
      const int slot = (part_.splits - distance - 1) * part_.owned + block;
      const uint32_t to = address_in(owner, from + at(slot));
      const uint32_t barrier = address_in(owner, barriers_.sums());
#pragma unroll
      for (int s = 0; s < Shape::kStreams; ++s) {
        const float(&v)[4] = sum[s][n];
        send(to + s * Shape::kThreads * 16, float4{v[0], v[1], v[2], v[3]}, barrier);
      }
    }
  }

  template <typename Output>
  __device__ __forceinline__ void write(const Sums& sum, int unit) {
    const HeldMatrix& matrix = matrix_of<Shape::kStreams>(args_, unit, 0);
    const int first_row = row_of(unit, matrix);
    const int first_token = token_of(0);
    const int tokens_left = args_.tokens - first_token;
    const int rows_left = matrix.rows - first_row;
    auto* out = static_cast<Output*>(matrix.out) + first_token * matrix.out_stride + first_row;
#pragma unroll
    for (int n = 0; n < Shape::kBlocks; ++n) {
      if (n >= part_.owned) break;
      float value[Shape::kStreams][4];
#pragma unroll
      for (int s = 0; s < Shape::kStreams; ++s) {
#pragma unroll
        for (int e = 0; e < 4; ++e) value[s][e] = sum[s][n][e];
      }
#pragma unroll
      for (int d = 1; d < kHeldSplits; ++d) {
        if (d >= part_.splits) break;
#pragma unroll
        for (int s = 0; s < Shape::kStreams; ++s) {
          const float4 more = *reinterpret_cast<const float4*>(
              shared_ + mine_ + at((d - 1) * part_.owned + n) + s * Shape::kThreads * 16);
          value[s][0] += more.x, value[s][1] += more.y;
          value[s][2] += more.z, value[s][3] += more.w;
        }
      }
      const float2 upper = unpack_bf16(residual_[0]), lower = unpack_bf16(residual_[1]);
      const float residual[4] = {upper.x, upper.y, lower.x, lower.y};
      if (n + 1 < part_.owned) expect(unit, n + 1);
      const float2 factors = factors_of(n);
      float result[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float factor = (e % 2 == 0 ? factors.x : factors.y) *
                             (e < 2 ? Weights::kLowerRows : Weights::kUpperRows);
        result[e] = value[0][e] * factor;
        if constexpr (Shape::kStreams == 2) {
          result[e] = silu(result[e]) * (value[1][e] * factor);
        }
        result[e] += residual[e];
      }
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if (n * 8 + e % 2 >= tokens_left || e / 2 * 8 >= rows_left) continue;
        put(out + e % 2 * matrix.out_stride + e / 2 * 8, result[e]);
      }
      out += 8 * matrix.out_stride;
    }
  }
  static __device__ __forceinline__ void put(float* to, float value) { *to = value; }
  static __device__ __forceinline__ void put(__nv_bfloat16* to, float value) {
    *to = __float2bfloat16_rn(value);
  }

  // Of this thread's four sums: their first row and token; the others are 8 rows, 1 token on.
  [[nodiscard]] static __device__ __forceinline__ int row_of(int unit, const HeldMatrix& matrix) {
    return (unit - matrix.first_unit) * Shape::kWarps * kTileRows +
           static_cast<int>(threadIdx.x / 32 * kTileRows + threadIdx.x % 32 / 4);
  }
  [[nodiscard]] __device__ __forceinline__ int token_of(int block) const {
    return Shape::first_token() + (part_.rank * part_.owned + block) * 8 +
           static_cast<int>(threadIdx.x % 4) * 2;
  }
  // RMSNorm's factors of this thread's two tokens of a block.
  [[nodiscard]] __device__ __forceinline__ float2 factors_of(int block) const {
    if (args_.gain == nullptr) return {1, 1};
    const auto* squares =
        reinterpret_cast<const float2*>(shared_ + args_.squares_at) + block * 4 + threadIdx.x % 4;
    float2 total = {0, 0};
#pragma unroll
    for (int from = 0; from < kHeldSplits; ++from) {
      if (from >= part_.splits) break;
      const float2 more = squares[from * part_.owned * 4];
      total.x += more.x, total.y += more.y;
    }
    return {inverse_root(total.x * args_.inverse_cols + args_.epsilon),
            inverse_root(total.y * args_.inverse_cols + args_.epsilon)};
  }
  // Of a number that is not subnormal, or infinity.
  static __device__ __forceinline__ float inverse_root(float value) {
    float root;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(root) : "f"(value));
    return root;
  }
  const HeldArgs& args_;
  const HeldPart& part_;
  const HeldBarriers<Shape>& barriers_;
  char* shared_;
  int mine_;
  uint32_t residual_[2] = {};  // bf16, of a row of this thread's and then the other
};

}  // namespace
}  // namespace switchyard::cuda
