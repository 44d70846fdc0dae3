// Weight: a non-owning matrix of model parameters in the format it is stored in.
// Formats are data that linear and moe look at, not ops.
#pragma once

#include <cstdint>

#include "kernels/base/tensor.h"

namespace switchyard {

enum class WeightFormat : uint8_t { kF32, kF16, kBf16 };

constexpr WeightFormat format_of(DType dtype) {
  return dtype == DType::kF32   ? WeightFormat::kF32
         : dtype == DType::kF16 ? WeightFormat::kF16
                                : WeightFormat::kBf16;
}

constexpr int64_t bytes_of(WeightFormat format) { return format == WeightFormat::kF32 ? 4 : 2; }

// y = x W^T. Row-major [rows = outputs, cols = inputs].
struct Weight {
  const void* data = nullptr;
  WeightFormat format = WeightFormat::kBf16;
  int64_t rows = 0;
  int64_t cols = 0;

  [[nodiscard]] bool empty() const { return data == nullptr; }
  [[nodiscard]] int64_t bytes() const { return rows * cols * bytes_of(format); }
};

// One matrix of each expert: `data[e]` is expert e's [rows, cols]. Experts need not be adjacent, so
// that per-expert and stacked checkpoints are both used where they lie. `data` is a device array.
struct ExpertWeight {
  const void* const* data = nullptr;
  WeightFormat format = WeightFormat::kBf16;
  int64_t experts = 0;
  int64_t rows = 0;
  int64_t cols = 0;

  [[nodiscard]] int64_t bytes_per_expert() const { return rows * cols * bytes_of(format); }
};

}  // namespace switchyard
