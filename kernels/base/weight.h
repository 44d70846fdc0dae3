// Weight: a non-owning matrix of model parameters in the format it is stored in.
// Formats are data that linear and moe look at, not ops.
#pragma once

#include <cstdint>

#include "kernels/base/tensor.h"

namespace switchyard {

// The first three are plain numbers. The others are codes with a scale for every row and every
// `group` consecutive columns (the last group of a row may be shorter): value = scale * code.
//   kFp8   E4M3 (no infinities, +-448); f32 scales
//   kInt8  two's complement -127..127;  f16 scales
//   kInt4  -7..7 (-8 is never written); f16 scales
// f16 scales are representable in bf16 too: at most 8 significant bits.
enum class WeightFormat : uint8_t { kF32, kF16, kBf16, kFp8, kInt8, kInt4 };

constexpr WeightFormat format_of(DType dtype) {
  return dtype == DType::kF32   ? WeightFormat::kF32
         : dtype == DType::kF16 ? WeightFormat::kF16
                                : WeightFormat::kBf16;
}

constexpr const char* name_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return "f32";
    case WeightFormat::kF16:
      return "f16";
    case WeightFormat::kBf16:
      return "bf16";
    case WeightFormat::kFp8:
      return "fp8";
    case WeightFormat::kInt8:
      return "int8";
    case WeightFormat::kInt4:
      return "int4";
  }
  return "?";
}

constexpr bool is_quantised(WeightFormat format) { return format >= WeightFormat::kFp8; }

constexpr int bits_of(WeightFormat format) {
  return format == WeightFormat::kF32    ? 32
         : format < WeightFormat::kFp8   ? 16
         : format == WeightFormat::kInt4 ? 4
                                         : 8;
}

constexpr int64_t bytes_of_scale(WeightFormat format) {
  return format == WeightFormat::kFp8 ? 4 : is_quantised(format) ? 2 : 0;
}

// Columns that share a scale: 128 where they divide the columns, else 64, else 32. 0: no scales.
constexpr int group_for(WeightFormat format, int64_t cols) {
  if (!is_quantised(format)) return 0;
  return cols % 128 == 0 ? 128 : cols % 64 == 0 ? 64 : 32;
}

// What the numbers of a matrix take, whatever the layout: codes and scales, without padding.
constexpr int64_t matrix_bytes(WeightFormat format, int group, int64_t rows, int64_t cols) {
  const int64_t groups = group > 0 ? (cols + group - 1) / group : 0;
  return rows * ((cols * bits_of(format) + 7) / 8 + groups * bytes_of_scale(format));
}

// y = x W^T. [rows = outputs, cols = inputs]. How codes and scales lie in memory is the backend's
// affair (Backend::pack writes them); a table that rows are looked up in is always row-major f32,
// f16 or bf16.
struct Weight {
  const void* data = nullptr;
  const void* scale = nullptr;  // null: a format without scales
  WeightFormat format = WeightFormat::kBf16;
  int group = 0;
  int64_t rows = 0;
  int64_t cols = 0;

  [[nodiscard]] bool empty() const { return data == nullptr; }
  [[nodiscard]] int64_t bytes() const { return matrix_bytes(format, group, rows, cols); }
};

// One matrix of each expert: `data[e]` and `scale[e]` are expert e's [rows, cols]. Experts need not
// be adjacent, so that per-expert and stacked checkpoints are both used where they lie. Both are
// device arrays of device addresses; `scale` is null for a format without scales.
struct ExpertWeight {
  const void* const* data = nullptr;
  const void* const* scale = nullptr;
  WeightFormat format = WeightFormat::kBf16;
  int group = 0;
  int64_t experts = 0;
  int64_t rows = 0;
  int64_t cols = 0;

  [[nodiscard]] int64_t bytes_per_expert() const { return matrix_bytes(format, group, rows, cols); }
};

}  // namespace switchyard
