// Products with many rows of x: tiles of weights against tiles of rows, on tensor cores, pipelined
// through shared memory. Weights are any packed format; sums are f32. Chooses wgmma where the
// device has it. Rows of x are any number; K is weight.cols.
//
// Codes are multiplied by their scale in bf16 before they meet x, which rounds every weight once to
// bf16 (and an f32 scale of fp8 before that). Tiles of 16 tokens multiply the sums of 64 columns by
// the scale in f32 instead, and round no weight. The same sizes give the same bits.
#pragma once

#include <cuda_bf16.h>

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

// out = x weight^T (+ residual), or silu(x weight^T) * (x up^T) if `up` is given (no residual
// then).
struct WideProduct {
  const __nv_bfloat16* x = nullptr;  // [rows, weight.cols]
  int64_t rows = 0;
  Weight weight;
  Weight up{};          // same shape and format, or empty
  void* out = nullptr;  // [rows, out_stride >= weight.rows], bf16 or f32
  DType out_type = DType::kBf16;
  int64_t out_stride = 0;
  const __nv_bfloat16* residual = nullptr;  // [rows, weight.rows]; may be the memory of out
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
