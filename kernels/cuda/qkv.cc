#include "kernels/cuda/qkv.h"

#include "kernels/cuda/narrow.h"
#include "kernels/cuda/narrow_qkv.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/qkv_finish.h"
#include "kernels/cuda/wide.h"
#include "kernels/cuda/wide_held.h"

namespace switchyard::cuda {
namespace {

// One of the three projections, to a column range of its tensor.
struct Projection {
  const Weight& weight;
  Tensor out;
  int64_t first_column;
};

void narrow_projection(const Stream& on, const NormedInput& input, const Projection& to) {
  narrow_product(on, {.input = input,
                      .weight = to.weight,
                      .up = {},
                      .out = static_cast<__nv_bfloat16*>(to.out.data) + to.first_column,
                      .out_type = DType::kBf16,
                      .out_stride = to.out.dim(1)});
}

void wide_projection(const Stream& on, const Tensor& x, const Projection& to) {
  wide_product(on, {.x = static_cast<const __nv_bfloat16*>(x.data),
                    .rows = x.dim(0),
                    .weight = to.weight,
                    .up = {},
                    .out = static_cast<__nv_bfloat16*>(to.out.data) + to.first_column,
                    .out_type = DType::kBf16,
                    .out_stride = to.out.dim(1)});
}

bool held_projections(const Stream& on, const NormedInput& input, const Projection (&to)[3]) {
  const auto matrix = [](const Projection& of) {
    return HeldProduct::Matrix{
        of.weight, static_cast<__nv_bfloat16*>(of.out.data) + of.first_column, of.out.dim(1)};
  };
  return held_product(on,
                      {.input = input, .matrices = {matrix(to[0]), matrix(to[1]), matrix(to[2])}});
}

}  // namespace

void qkv(const Stream& on, const QkvArgs& args, const RaggedBatch& batch) {
  const int64_t rows = args.q.dim(0);
  if (rows == 0) return;
  if (qkv_is_narrow(on, args)) return narrow_qkv(on, args, batch);
  const Projection projections[] = {{args.q_proj, args.q, 0},
                                    {args.k_proj, args.kv_work, 0},
                                    {args.v_proj, args.kv_work, args.k_proj.rows}};
  if (rows <= narrow_rows(on, args.q_proj.cols)) {
    for (const Projection& to : projections) narrow_projection(on, args.input, to);
  } else if (!held_projections(on, args.input, projections)) {
    norm_input(on, args.input);
    for (const Projection& to : projections) wide_projection(on, args.input.rows(), to);
  }
  qkv_finish(on, args, batch);
}

}  // namespace switchyard::cuda
