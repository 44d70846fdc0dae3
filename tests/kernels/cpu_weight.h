// A matrix of random numbers in any format, packed by the CPU backend, and the numbers that its
// bytes stand for, read here from the layout that kernels/cpu/pack.h describes.
#pragma once

#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "tests/kernels/reference.h"

namespace switchyard::reference {

inline double e4m3_value(uint8_t bits) {
  const int exponent = bits >> 3 & 15;
  const int fraction = bits & 7;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8 + fraction, exponent - 10);
  return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

class CpuWeight {
 public:
  CpuWeight(WeightFormat format, const Owned& source, ScaleChoice scales = ScaleChoice::kRound)
      : CpuWeight(format, source.view().dim(0), source.view().dim(1)) {
    CpuBackend(2).pack({.out = view_, .source = source.view(), .scales = scales});
  }
  static CpuWeight random(
      WeightFormat format, int64_t rows, int64_t cols, uint32_t seed, double spread = 1) {
    return CpuWeight(format, Owned::random(DType::kF32, {rows, cols}, seed, spread));
  }
  CpuWeight(const CpuWeight&) = delete;
  CpuWeight& operator=(const CpuWeight&) = delete;

  [[nodiscard]] const Weight& view() const { return view_; }
  [[nodiscard]] const std::vector<uint8_t>& data() const { return data_; }
  [[nodiscard]] const std::vector<uint8_t>& scale_bytes() const { return scale_; }

  [[nodiscard]] double scale(int64_t row, int64_t group) const {
    const int64_t index = row * groups() + group;
    if (view_.format == WeightFormat::kFp8) return read<float>(scale_, index);
    return widen_bits(read<uint16_t>(scale_, index), DType::kF16);
  }
  [[nodiscard]] double code(int64_t row, int64_t col) const {
    if (view_.format == WeightFormat::kInt4) {
      const uint8_t pair = data_[row * ((view_.cols + 1) / 2) + col / 2];
      return (col % 2 == 0 ? pair & 15 : pair >> 4) - 8;
    }
    const uint8_t byte = data_[row * view_.cols + col];
    return view_.format == WeightFormat::kFp8 ? e4m3_value(byte) : static_cast<int8_t>(byte);
  }
  [[nodiscard]] double value(int64_t row, int64_t col) const {
    const int64_t index = row * view_.cols + col;
    if (is_quantised(view_.format)) return code(row, col) * scale(row, col / view_.group);
    if (view_.format == WeightFormat::kF32) return read<float>(data_, index);
    return widen_bits(read<uint16_t>(data_, index),
                      view_.format == WeightFormat::kF16 ? DType::kF16 : DType::kBf16);
  }
  [[nodiscard]] Doubles values() const {
    Doubles all;
    for (int64_t row = 0; row < view_.rows; ++row) {
      for (int64_t col = 0; col < view_.cols; ++col) all.push_back(value(row, col));
    }
    return all;
  }

 private:
  CpuWeight(WeightFormat format, int64_t rows, int64_t cols) {
    const int group = group_for(format, cols);
    const WeightBytes bytes = CpuBackend(1).weight_bytes(format, group, rows, cols);
    data_.assign(static_cast<size_t>(bytes.data), 0xee);
    scale_.assign(static_cast<size_t>(bytes.scale), 0xee);
    view_ = {.data = data_.data(),
             .scale = scale_.empty() ? nullptr : scale_.data(),
             .format = format,
             .group = group,
             .rows = rows,
             .cols = cols};
  }
  [[nodiscard]] int64_t groups() const { return (view_.cols + view_.group - 1) / view_.group; }
  template <typename T>
  static T read(const std::vector<uint8_t>& bytes, int64_t index) {
    T value;
    std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
    return value;
  }

  std::vector<uint8_t> data_, scale_;
  Weight view_;
};

}  // namespace switchyard::reference
