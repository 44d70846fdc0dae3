// Products with few rows of x (decode): every block takes all rows of x into shared memory and its
// warps split the columns of a few tiles of weights, so that each weight byte is read once, early
// and by one load. The step is memory-bound; what follows a product is done as its epilogue.
#pragma once

#include <cuda_bf16.h>

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

// The most rows of x that a narrow product of this many columns takes; 0 when there is none.
int narrow_rows(const Stream& on, int64_t cols);

// out = input weight^T (+ residual), or silu(input weight^T) * (input up^T) if `up` is given.
// The norm of the input, if any, happens inside.
struct NarrowProduct {
  NormedInput input;  // `normed` is not written
  Weight weight;
  Weight up{};
  void* out = nullptr;  // [rows, out_stride >= weight.rows], bf16 or f32
  DType out_type = DType::kBf16;
  int64_t out_stride = 0;
  const __nv_bfloat16* residual = nullptr;
};
void narrow_product(const Stream& on, const NarrowProduct& product);

}  // namespace switchyard::cuda
