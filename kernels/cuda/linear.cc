#include "kernels/cuda/linear.h"

#include "kernels/cuda/narrow.h"
#include "kernels/cuda/wide.h"

namespace switchyard::cuda {
namespace {

const __nv_bfloat16* bf16(const Tensor& tensor) {
  return tensor.empty() ? nullptr : static_cast<const __nv_bfloat16*>(tensor.data);
}

void product(const Stream& on,
             const NormedInput& input,
             const Weight& weight,
             const Weight& up,
             const Tensor& out,
             const Tensor& residual) {
  const int64_t rows = out.dim(0);
  if (rows == 0) return;
  if (rows <= narrow_rows(on, weight.cols)) {
    narrow_product(on, {.input = input,
                        .weight = weight,
                        .up = up,
                        .out = out.data,
                        .out_type = out.dtype,
                        .out_stride = weight.rows,
                        .residual = bf16(residual)});
    return;
  }
  WideProduct wide = {.input = input,
                      .matrix = {{&weight, out.data, weight.rows}},
                      .gated = !up.empty(),
                      .out_type = out.dtype,
                      .residual = bf16(residual)};
  if (wide.gated) wide.matrix[1].weight = &up;
  wide_product(on, wide);
}

}  // namespace

void linear(const Stream& on, const LinearArgs& args) {
  product(on, args.input, args.weight, {}, args.out, args.residual);
}

void gated_linear(const Stream& on, const GatedLinearArgs& args) {
  product(on, args.input, args.gate, args.up, args.out, {});
}

}  // namespace switchyard::cuda
