// An arena for the intermediate tensors of a step, over device memory that the caller owns.
// Layers take, and rewind to a mark so that the next layer reuses the same bytes. Touches no byte
// itself: over a null base of any size it only measures, and peak_bytes() is the answer.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "kernels/base/tensor.h"

namespace switchyard {

inline constexpr int64_t kScratchAlignment = 64;

// Step thread only.
class Scratch {
 public:
  enum class Mark : int64_t {};

  // `base` is aligned to kScratchAlignment. The region must outlive the tensors taken from it.
  Scratch(void* base, int64_t bytes);

  // Uninitialised. Running out is ours to have measured: CHECK.
  [[nodiscard]] Tensor take(DType type, std::initializer_list<int64_t> shape);

  [[nodiscard]] Mark mark() const { return Mark{used_bytes_}; }
  // Everything taken since the mark may be handed out again.
  void rewind(Mark mark);

  [[nodiscard]] int64_t peak_bytes() const { return peak_bytes_; }

 private:
  uintptr_t base_;
  int64_t bytes_;
  int64_t used_bytes_ = 0;
  int64_t peak_bytes_ = 0;
};

}  // namespace switchyard
