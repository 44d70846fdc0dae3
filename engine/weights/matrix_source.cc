#include "engine/weights/matrix_source.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/base/check.h"

namespace switchyard {
namespace {

// 1 sign, 4 exponent (bias 7), 3 fraction bits; no infinities.
std::array<float, 256> e4m3_values() {
  std::array<float, 256> values{};
  for (int bits = 0; bits < 256; ++bits) {
    const int exponent = bits >> 3 & 15;
    const int fraction = bits & 7;
    float value = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -9)
                                : std::ldexp(static_cast<float>(8 + fraction), exponent - 10);
    if ((bits & 0x7f) == 0x7f) value = std::numeric_limits<float>::quiet_NaN();
    values[static_cast<size_t>(bits)] = (bits & 0x80) != 0 ? -value : value;
  }
  return values;
}

std::span<const float> scales_of_row(const MatrixSource& source, int64_t row) {
  const Fp8Scales& scales = source.scales;
  const int64_t blocks = (source.cols + scales.block_cols - 1) / scales.block_cols;
  const int64_t block_row = (source.first_row + row) / scales.block_rows;
  return scales.values.subspan(static_cast<size_t>(block_row * blocks),
                               static_cast<size_t>(blocks));
}

}  // namespace

bool expand_fp8(const MatrixSource& source, std::vector<float>& values) {
  CHECK(source.type == ElementType::kF8E4m3 && source.data != nullptr);
  const std::array<float, 256> value_of = e4m3_values();
  values.resize(static_cast<size_t>(source.rows * source.cols));
  bool numbers = true;
  for (int64_t row = 0; row < source.rows; ++row) {
    const std::span<const float> scales = scales_of_row(source, row);
    const std::byte* from = source.data + row * source.cols;
    float* to = values.data() + row * source.cols;
    for (int64_t begin = 0; begin < source.cols; begin += source.scales.block_cols) {
      const float scale = scales[static_cast<size_t>(begin / source.scales.block_cols)];
      const int64_t end = std::min(source.cols, begin + source.scales.block_cols);
      for (int64_t col = begin; col < end; ++col) {
        to[col] = scale * value_of[static_cast<size_t>(from[col])];
        numbers = numbers && !std::isnan(to[col]);
      }
    }
  }
  return numbers;
}

std::vector<float> group_scales(const MatrixSource& source, int group) {
  CHECK(kFp8Block % group == 0);
  std::vector<float> all;
  for (int64_t row = 0; row < source.rows; ++row) {
    const std::span<const float> scales = scales_of_row(source, row);
    for (int64_t col = 0; col < source.cols; col += group) {
      all.push_back(scales[static_cast<size_t>(col / source.scales.block_cols)]);
    }
  }
  return all;
}

}  // namespace switchyard
