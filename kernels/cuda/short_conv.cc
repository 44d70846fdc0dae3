#include "kernels/cuda/short_conv.h"

#include "kernels/cuda/conv_finish.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/narrow_conv.h"

namespace switchyard::cuda {

void short_conv(const Stream& on, const ShortConvArgs& args, const RaggedBatch& batch) {
  if (batch.num_tokens == 0) return;
  if (conv_is_narrow(on, args)) return narrow_conv(on, args, batch);
  linear(on,
         {.out = args.projected_work, .input = args.input, .weight = args.in_proj, .residual = {}});
  conv_finish(on, args, batch);
}

}  // namespace switchyard::cuda
