// Matrix products over whole tensors. A thread takes a range of outputs and walks blocks of rows:
// one row reads each weight once, many rows find x in the core's own cache.
#include "kernels/cpu/linear.h"

#include <algorithm>
#include <array>

#include "kernels/cpu/activation.h"
#include "kernels/cpu/norm.h"
#include "kernels/cpu/pack.h"

namespace switchyard::cpu {
namespace {

template <typename T>
std::array<T*, kTileRows> row_pointers(T* first, int64_t stride, int rows) {
  std::array<T*, kTileRows> pointers{};
  for (int m = 0; m < rows; ++m) pointers[m] = first + m * stride;
  return pointers;
}

// Calls body(row_begin, rows, output_begin, outputs) for tiles that cover everything.
template <typename Body>
void for_each_tile(ThreadPool& pool, int64_t rows, int64_t outputs, const Body& body) {
  pool.parallel_for(outputs, kTileOutputs, [&](int64_t begin, int64_t end) {
    for (int64_t m = 0; m < rows; m += kTileRows) {
      const int tile_rows = static_cast<int>(std::min<int64_t>(kTileRows, rows - m));
      for (int64_t n = begin; n < end; n += kTileOutputs) {
        body(m, tile_rows, n, static_cast<int>(std::min<int64_t>(kTileOutputs, end - n)));
      }
    }
  });
}

}  // namespace

void set_weight(DotTile& tile, const Weight& weight, int64_t begin) {
  const WeightBytes offset = bytes_of_rows(weight.format, weight.group, weight.cols, begin);
  tile.weight = static_cast<const char*>(weight.data) + offset.data;
  tile.scale =
      weight.scale == nullptr ? nullptr : static_cast<const char*>(weight.scale) + offset.scale;
  tile.format = weight.format;
  tile.group = weight.group;
  tile.cols = weight.cols;
}

Weight matrix_of(const ExpertWeight& weight, int64_t expert) {
  return {.data = weight.data[expert],
          .scale = weight.scale == nullptr ? nullptr : weight.scale[expert],
          .format = weight.format,
          .group = weight.group,
          .rows = weight.rows,
          .cols = weight.cols};
}

void project(ThreadPool& pool, const ProjectArgs& args) {
  const float* x = args.x.f32();
  const Weight& weight = args.weight;
  for_each_tile(pool, args.x.dim(0), weight.rows, [&](int64_t m, int rows, int64_t n, int outputs) {
    std::array<float, kTileRows * kTileOutputs> product;
    const auto x_rows = row_pointers(x + m * weight.cols, weight.cols, rows);
    DotTile tile{.x = x_rows.data(),
                 .rows = rows,
                 .outputs = outputs,
                 .out = product.data(),
                 .out_stride = outputs};
    set_weight(tile, weight, n);
    dot_tile(tile);
    for (int i = 0; i < rows; ++i) {
      const float* from = product.data() + i * outputs;
      float* out = args.out + (m + i) * args.out_stride + n;
      if (args.residual == nullptr) {
        std::copy(from, from + outputs, out);
      } else {
        const float* residual = args.residual + (m + i) * weight.rows + n;
        for (int j = 0; j < outputs; ++j) out[j] = from[j] + residual[j];
      }
    }
  });
}

void gated_tile(const GatedTile& tile) {
  std::array<float, kTileRows * kTileOutputs> gate;
  std::array<float, kTileRows * kTileOutputs> up;
  DotTile dot{.x = tile.x,
              .rows = tile.rows,
              .outputs = tile.outputs,
              .out = gate.data(),
              .out_stride = tile.outputs};
  set_weight(dot, tile.gate, tile.begin);
  dot_tile(dot);
  set_weight(dot, tile.up, tile.begin);
  dot.out = up.data();
  dot_tile(dot);
  silu_multiply(gate.data(), up.data(), int64_t{tile.rows} * tile.outputs);
  for (int m = 0; m < tile.rows; ++m) {
    std::copy_n(gate.data() + m * tile.outputs, tile.outputs, tile.out[m] + tile.begin);
  }
}

void linear(ThreadPool& pool, const LinearArgs& args) {
  norm_input(pool, args.input);
  project(pool, {.x = args.input.rows(),
                 .weight = args.weight,
                 .out = args.out.f32(),
                 .out_stride = args.weight.rows,
                 .residual = args.residual.empty() ? nullptr : args.residual.f32()});
}

void gated_linear(ThreadPool& pool, const GatedLinearArgs& args) {
  norm_input(pool, args.input);
  const Tensor rows_in = args.input.rows();
  const float* x = rows_in.f32();
  const Weight& gate = args.gate;
  for_each_tile(pool, rows_in.dim(0), gate.rows, [&](int64_t m, int rows, int64_t n, int outputs) {
    const auto x_rows = row_pointers(x + m * gate.cols, gate.cols, rows);
    const auto out_rows = row_pointers(args.out.f32() + m * gate.rows, gate.rows, rows);
    gated_tile({.x = x_rows.data(),
                .out = out_rows.data(),
                .rows = rows,
                .gate = gate,
                .up = args.up,
                .begin = n,
                .outputs = outputs});
  });
}

}  // namespace switchyard::cpu
