// Decode attention by teams of one block; sm90/attention_cluster.cu has those of several.
#include "kernels/cuda/attention_decode.cuh"

namespace switchyard::cuda {
namespace {

template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocksPerMultiprocessor)
    decode(const __grid_constant__ AttentionTask task, const __grid_constant__ Cut cut) {
  decode_pieces<Shape, OneBlock<Shape>>(task, cut);
}

template <int kDim, int kRows>
void decode_with(const Stream& on, const AttentionTask& task, int longest) {
  using Shape = DecodeShape<kDim, kRows>;
  launch_decode<Shape, OneBlock<Shape>>(on, decode<Shape>, task, longest, 1);
}

}  // namespace

void attention_decode(const Stream& on, const AttentionTask& task, int longest) {
  // With about one token each, few query heads need no more than half of a tensor core's rows.
  const bool narrow = task.tokens == task.rows && task.group <= 8;
  if (narrow && on.capability == 90 && attention_clusters(on, task)) return;
  if (task.head_dim == 64) {
    return narrow ? decode_with<64, 8>(on, task, longest) : decode_with<64, 16>(on, task, longest);
  }
  CHECK(task.head_dim == 128);
  narrow ? decode_with<128, 8>(on, task, longest) : decode_with<128, 16>(on, task, longest);
}

}  // namespace switchyard::cuda
