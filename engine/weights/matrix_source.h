// MatrixSource: one matrix as a source has it, perhaps some rows of a larger one, before a backend
// packs it. Knows how fp8 checkpoints write their scales.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/weights/safetensors.h"

namespace switchyard {

// The scales of an F8_E4M3 tensor: one for each block of rows and columns.
// Of NAME_scale_inv blocks of 128 x 128; of NAME_scale whole rows.
struct Fp8Scales {
  std::span<const float> values;  // [ceil(rows / block_rows), ceil(cols / block_cols)]
  int64_t block_rows = 1;
  int64_t block_cols = 1;
};

inline constexpr int64_t kFp8Block = 128;

struct MatrixSource {
  ElementType type = ElementType::kF32;  // F32, F16, BF16 or F8_E4M3
  const std::byte* data = nullptr;       // row-major [rows, cols] in host memory, any alignment
  std::optional<DrawnValues> drawn{};    // set: `data` is null
  int64_t rows = 0;
  int64_t cols = 0;
  Fp8Scales scales{};     // of F8_E4M3: of the whole matrix of which these are some rows
  int64_t first_row = 0;  // there
};

// The values of an F8_E4M3 matrix times their scales, into `values`. False: one is NaN.
bool expand_fp8(const MatrixSource& source, std::vector<float>& values);

// Its scales as the kernels take them, [rows, ceil(cols / group)]: of every row and `group`
// columns. `group` divides 128.
std::vector<float> group_scales(const MatrixSource& source, int group);

}  // namespace switchyard
