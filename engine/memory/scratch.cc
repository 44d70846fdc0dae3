// An arena for the intermediate tensors of a step, over device memory that the caller owns.
// Addresses are integers here, because over a null base they point at nothing.
#include "engine/memory/scratch.h"

#include <algorithm>

#include "kernels/base/check.h"

namespace switchyard {

Scratch::Scratch(void* base, int64_t bytes)
    : base_(reinterpret_cast<uintptr_t>(base)), bytes_(bytes) {
  CHECK(base_ % kScratchAlignment == 0);
  CHECK(bytes_ >= 0);
}

Tensor Scratch::take(DType type, std::initializer_list<int64_t> shape) {
  int64_t bytes = bytes_of(type);
  for (const int64_t size : shape) {
    CHECK(size >= 0);
    CHECK(!__builtin_mul_overflow(bytes, size, &bytes));
  }
  // Compared without adding, so that nothing overflows however large the region.
  CHECK(bytes <= bytes_ - used_bytes_);
  // A number, because a measured region has a null base, from which no pointer may be counted.
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  auto* data = reinterpret_cast<void*>(base_ + static_cast<uintptr_t>(used_bytes_));
  const int64_t padding = (kScratchAlignment - bytes % kScratchAlignment) % kScratchAlignment;
  used_bytes_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, used_bytes_);
  used_bytes_ += std::min(padding, bytes_ - used_bytes_);
  return Tensor(data, type, shape);
}

void Scratch::rewind(Mark mark) {
  const auto bytes = static_cast<int64_t>(mark);
  CHECK(bytes >= 0 && bytes <= used_bytes_);
  used_bytes_ = bytes;
}

}  // namespace switchyard
