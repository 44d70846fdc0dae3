// Products with up to 64 rows of x on sm_90a. A cluster of blocks shares the columns: each block
// keeps its columns of all rows of x in shared memory while weights stream past, and the blocks add
// up their sums through each other's shared memory. Every weight is read once, x once a block.
//
// As in wide.h, code times scale is rounded to bf16. The same sizes give the same bits.
#pragma once

#include <cuda_bf16.h>

#include <initializer_list>

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

inline constexpr int kHeldRows = 64;
inline constexpr int kHeldMatrices = 3;

// out = input weight^T (+ residual) for each matrix; or, of two that are `gated`, the one result
// silu(input first^T) * (input second^T). The norm of the input, if any, happens inside.
struct HeldProduct {
  struct Matrix {
    const Weight& weight;  // all of one format, group and cols; gated ones of as many rows
    void* out = nullptr;   // [rows of the input, out_stride >= weight.rows]
    int64_t out_stride = 0;
  };
  const NormedInput& input;  // `normed` is not written
  std::initializer_list<Matrix> matrices;
  bool gated = false;
  DType out_type = DType::kBf16;            // or f32
  const __nv_bfloat16* residual = nullptr;  // of the first, [rows, weight.rows]; may be out
};

// Does nothing and says false where device, sizes or alignment do not suit.
[[nodiscard]] bool held_product(const Stream& on, const HeldProduct& product);

}  // namespace switchyard::cuda
