#include "kernels/cuda/sm90/wide_wgmma.cuh"

namespace switchyard::cuda {
template void launch_wide_wgmma<WeightFormat::kFp8>(const Stream&,
                                                    const WideArgs&,
                                                    const WideTile&,
                                                    int64_t);
}  // namespace switchyard::cuda
