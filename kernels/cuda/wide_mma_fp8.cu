#include "kernels/cuda/wide_mma.cuh"

namespace switchyard::cuda {
template void launch_wide_mma<WeightFormat::kFp8>(const Stream&,
                                                  const WideArgs&,
                                                  const WideTile&,
                                                  int64_t);
}  // namespace switchyard::cuda
