#include "kernels/cuda/sm90/wide_held.cuh"

namespace switchyard::cuda {
template void launch_held<WeightFormat::kInt4>(const Stream&,
                                               const HeldArgs&,
                                               const HeldShapeOf&,
                                               int64_t);
}  // namespace switchyard::cuda
