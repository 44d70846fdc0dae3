// Products with many rows of x: tiles of weights against tiles of rows, on tensor cores, pipelined
// through shared memory. Weights are any packed format; sums are f32. Chooses wgmma where the
// device has it, and there holds some rows of x (wide_held.h). Rows of x are any number; K is
// weight.cols.
//
// Codes are multiplied by their scale in bf16 before they meet x, which rounds every weight once to
// bf16 (and an f32 scale of fp8 before that). Tiles of 16 tokens multiply the sums of 64 columns by
// the scale in f32 instead, and round no weight. The same sizes give the same bits.
#pragma once

#include <cuda_bf16.h>

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

inline constexpr int kWideMatrices = 3;

// out = input weight^T (+ residual) for each matrix that there is; or, of the first two that are
// `gated`, the one result silu(input first^T) * (input second^T).
struct WideProduct {
  struct Matrix {
    const Weight* weight = nullptr;  // all of one format, group and cols
    void* out = nullptr;             // [rows of the input, out_stride >= weight->rows]
    int64_t out_stride = 0;
  };
  NormedInput input;  // `normed` may be written
  Matrix matrix[kWideMatrices];
  bool gated = false;  // then both are of as many rows, and second's out is not looked at
  DType out_type = DType::kBf16;            // or f32
  const __nv_bfloat16* residual = nullptr;  // of the first, [rows, weight->rows]; may be its out
};
void wide_product(const Stream& on, const WideProduct& product);

// For every entry i = t * K + k of the routing, with expert e = routing.expert[t, k]:
//   out[i] = x[source] weight_e^T, or the gated form; source = per_entry ? i : t.
// Reads routing.order and routing.expert_start on the device; the grid covers any distribution.
struct WideExperts {
  const __nv_bfloat16* x = nullptr;  // [T or T * K, weight.cols]
  bool per_entry = false;
  Routing routing;
  ExpertWeight weight;
  ExpertWeight up{};             // data null: not gated
  __nv_bfloat16* out = nullptr;  // [T * K, weight.rows]
};
void wide_experts(const Stream& on, const WideExperts& product);

}  // namespace switchyard::cuda
