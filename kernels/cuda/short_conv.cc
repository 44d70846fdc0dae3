#include "kernels/cuda/short_conv.h"

#include "kernels/cuda/conv_finish.h"
#include "kernels/cuda/linear.h"

namespace switchyard::cuda {

void short_conv(const Stream& on, const ShortConvArgs& args, const RaggedBatch& batch) {
  linear(on,
         {.out = args.projected_work, .input = args.input, .weight = args.in_proj, .residual = {}});
  conv_finish(on, args, batch);
}

}  // namespace switchyard::cuda
