#include "kernels/cuda/qkv.h"

#include "kernels/cuda/narrow.h"
#include "kernels/cuda/narrow_qkv.h"
#include "kernels/cuda/qkv_finish.h"
#include "kernels/cuda/wide.h"

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

void wide_projections(const Stream& on, const NormedInput& input, const Projection (&to)[3]) {
  const auto matrix = [](const Projection& of) {
    return WideProduct::Matrix{
        &of.weight, static_cast<__nv_bfloat16*>(of.out.data) + of.first_column, of.out.dim(1)};
  };
  const auto like_first = [&](const Projection& of) {
    return of.weight.format == to[0].weight.format && of.weight.group == to[0].weight.group;
  };
  if (like_first(to[1]) && like_first(to[2])) {
    return wide_product(on,
                        {.input = input, .matrix = {matrix(to[0]), matrix(to[1]), matrix(to[2])}});
  }
  for (const Projection& one : to) wide_product(on, {.input = input, .matrix = {matrix(one)}});
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
  } else {
    wide_projections(on, args.input, projections);
  }
  qkv_finish(on, args, batch);
}

}  // namespace switchyard::cuda
