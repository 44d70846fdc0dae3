// Matrix products over whole tensors: out = x W^T, and the gated pair. Splits outputs over threads.
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cpu/dot.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard::cpu {

// The most rows and outputs handed to dot_tile at once: x's rows then stay in a core's L2.
constexpr int kTileRows = 48;
constexpr int kTileOutputs = 16;

// out[m * stride ...] = x W^T (+ residual, [N, W.rows], which may be the memory of out).
struct ProjectArgs {
  Tensor x;  // [N, W.cols] f32
  Weight weight;
  float* out = nullptr;
  int64_t out_stride = 0;
  const float* residual = nullptr;
};
void project(ThreadPool& pool, const ProjectArgs& args);

// The outputs from `begin` on of a matrix, as the weights of a tile that has everything else.
void set_weight(DotTile& tile, const Weight& weight, int64_t begin);

// Expert e's matrix.
Weight matrix_of(const ExpertWeight& weight, int64_t expert);

// out[m] = silu(x[m] gate^T) * (x[m] up^T) for the outputs [begin, begin + outputs) of two
// matrices of one shape.
struct GatedTile {
  const float* const* x = nullptr;  // [rows] pointers, rows <= kTileRows
  float* const* out = nullptr;      // [rows] pointers to whole output rows
  int rows = 0;
  Weight gate, up;
  int64_t begin = 0;
  int outputs = 0;  // <= kTileOutputs
};
void gated_tile(const GatedTile& tile);

void linear(ThreadPool& pool, const LinearArgs& args);
void gated_linear(ThreadPool& pool, const GatedLinearArgs& args);

}  // namespace switchyard::cpu
