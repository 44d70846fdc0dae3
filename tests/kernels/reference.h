// Naive float64 references for every op, and what the kernel tests share: owned tensors with guard
// elements, weights in each format, batches of rows, error measures. Written from the contracts in
// kernels/backend.h; uses no kernel code.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/backend.h"

namespace switchyard::reference {

using Doubles = std::vector<double>;

inline uint16_t narrow_bits(float value, DType dtype) {
  if (dtype == DType::kF16) return std::bit_cast<uint16_t>(static_cast<_Float16>(value));
  uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rest = bits & 0xffff;
  bits >>= 16;
  if (rest > 0x8000 || (rest == 0x8000 && (bits & 1))) ++bits;
  return static_cast<uint16_t>(bits);
}

inline float widen_bits(uint16_t bits, DType dtype) {
  if (dtype == DType::kF16) return static_cast<float>(std::bit_cast<_Float16>(bits));
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

// A tensor that owns its memory, with guard bytes on both sides that must stay as they are.
class Owned {
 public:
  Owned(DType dtype, std::initializer_list<int64_t> shape) : view_(nullptr, dtype, shape) {
    memory_.assign(view_.bytes() + 2 * kGuard, kPattern);
    view_.data = memory_.data() + kGuard;
  }
  Owned(const Owned& other) : view_(other.view_), memory_(other.memory_) {
    view_.data = memory_.data() + kGuard;
  }
  Owned& operator=(const Owned&) = delete;
  ~Owned() {
    for (int i = 0; i < kGuard; ++i) {
      EXPECT_EQ(memory_[i], kPattern) << "written before the tensor";
      EXPECT_EQ(memory_[memory_.size() - 1 - i], kPattern) << "written behind the tensor";
    }
  }

  // An output: NaN everywhere, or -7 for integers.
  static Owned poisoned(DType dtype, std::initializer_list<int64_t> shape) {
    Owned out(dtype, shape);
    for (int64_t i = 0; i < out.view_.elements(); ++i) {
      if (dtype == DType::kI32) {
        out.view_.i32()[i] = -7;
      } else {
        out.set(i, std::numeric_limits<float>::quiet_NaN());
      }
    }
    return out;
  }
  static Owned random(DType dtype,
                      std::initializer_list<int64_t> shape,
                      uint32_t seed,
                      double spread = 1) {
    Owned out(dtype, shape);
    std::mt19937 random(seed);
    std::normal_distribution<double> normal(0, spread);
    for (int64_t i = 0; i < out.view_.elements(); ++i) {
      out.set(i, static_cast<float>(normal(random)));
    }
    return out;
  }
  static Owned ints(const std::vector<int32_t>& values) {
    Owned out(DType::kI32, {static_cast<int64_t>(values.size())});
    std::copy(values.begin(), values.end(), out.view_.i32());
    return out;
  }

  [[nodiscard]] const Tensor& view() const { return view_; }
  [[nodiscard]] Weight weight() const {
    return {.data = view_.data,
            .format = format_of(view_.dtype),
            .rows = view_.dim(0),
            .cols = view_.dim(1)};
  }
  [[nodiscard]] double at(int64_t i) const {
    if (view_.dtype == DType::kF32) return static_cast<float*>(view_.data)[i];
    if (view_.dtype == DType::kI32) return static_cast<int32_t*>(view_.data)[i];
    return widen_bits(static_cast<uint16_t*>(view_.data)[i], view_.dtype);
  }
  void set(int64_t i, float value) {
    if (view_.dtype == DType::kF32) {
      static_cast<float*>(view_.data)[i] = value;
    } else {
      static_cast<uint16_t*>(view_.data)[i] = narrow_bits(value, view_.dtype);
    }
  }
  [[nodiscard]] Doubles values() const {
    Doubles all(view_.elements());
    for (size_t i = 0; i < all.size(); ++i) all[i] = at(static_cast<int64_t>(i));
    return all;
  }
  [[nodiscard]] bool same_bits(const Owned& other) const {
    return view_.bytes() == other.view_.bytes() &&
           std::memcmp(view_.data, other.view_.data, view_.bytes()) == 0;
  }

 private:
  static constexpr int kGuard = 64;
  static constexpr uint8_t kPattern = 0xA5;
  Tensor view_;
  std::vector<uint8_t> memory_;
};

// The largest difference, relative to the largest reference value, stays below `tolerance`; and
// 1 - 2xy / (x^2 + y^2) over all elements, which is quadratic in the error, below its square.
constexpr double kF32Tolerance = 2e-6;

inline void expect_close(const Owned& got, const Doubles& want, double tolerance = kF32Tolerance) {
  ASSERT_EQ(static_cast<size_t>(got.view().elements()), want.size());
  double xy = 0, xx_yy = 0, largest = 0, difference = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double x = got.at(static_cast<int64_t>(i));
    ASSERT_TRUE(std::isfinite(x)) << "element " << i;
    xy += x * want[i];
    xx_yy += x * x + want[i] * want[i];
    largest = std::max(largest, std::abs(want[i]));
    difference = std::max(difference, std::abs(x - want[i]));
  }
  if (xx_yy == 0) return;
  EXPECT_LT(1 - 2 * xy / xx_yy, tolerance * tolerance);
  EXPECT_LT(difference / largest, tolerance);
}

// [rows, width] of x, normalised if there is a gain.
inline Doubles norm(const Doubles& x, const Doubles& gain, double epsilon) {
  const size_t width = gain.size();
  Doubles out(x.size());
  for (size_t row = 0; row < x.size() / width; ++row) {
    double squares = 0;
    for (size_t i = 0; i < width; ++i) squares += x[row * width + i] * x[row * width + i];
    const double scale = 1 / std::sqrt(squares / static_cast<double>(width) + epsilon);
    for (size_t i = 0; i < width; ++i) out[row * width + i] = x[row * width + i] * scale * gain[i];
  }
  return out;
}

// x [rows, cols] times the transpose of w [outputs, cols].
inline Doubles product(const Doubles& x, const Doubles& w, size_t cols) {
  const size_t rows = x.size() / cols;
  const size_t outputs = w.size() / cols;
  Doubles out(rows * outputs);
  for (size_t m = 0; m < rows; ++m) {
    for (size_t n = 0; n < outputs; ++n) {
      for (size_t k = 0; k < cols; ++k) out[m * outputs + n] += x[m * cols + k] * w[n * cols + k];
    }
  }
  return out;
}

inline double silu(double x) { return x / (1 + std::exp(-x)); }

inline Doubles gated(const Doubles& x, const Doubles& gate, const Doubles& up, size_t cols) {
  Doubles out = product(x, gate, cols);
  const Doubles right = product(x, up, cols);
  for (size_t i = 0; i < out.size(); ++i) out[i] = silu(out[i]) * right[i];
  return out;
}

// A batch whose arrays live here. Row r has `tokens[r]` new tokens after `past[r]` kept ones, its
// own blocks (ids handed out from 1 in an order that is not rising) and state slot r + 1.
struct Rows {
  std::vector<int32_t> tokens;
  std::vector<int32_t> past;
};

class Batch {
 public:
  Batch(const Rows& rows, int block_tokens) {
    const auto count = static_cast<int>(rows.tokens.size());
    row_start_ = {0};
    block_start_ = {0};
    for (int r = 0; r < count; ++r) {
      const int32_t length = rows.past[r] + rows.tokens[r];
      kv_len_.push_back(length);
      state_slot_.push_back(r + 1);
      for (int32_t b = 0; b * block_tokens < length; ++b) {
        block_id_.push_back(1 + r * kBlocksPerRow + (b ^ 1));
      }
      const int32_t* blocks = block_id_.data() + block_start_.back();
      for (int32_t i = rows.past[r]; i < length; ++i) {
        token_.push_back(static_cast<int32_t>(token_.size()));
        position_.push_back(i);
        kv_slot_.push_back(blocks[i / block_tokens] * block_tokens + i % block_tokens);
      }
      block_start_.push_back(static_cast<int32_t>(block_id_.size()));
      row_start_.push_back(static_cast<int32_t>(token_.size()));
    }
  }
  static constexpr int kBlocksPerRow = 64;

  [[nodiscard]] RaggedBatch view() const {
    return {.num_tokens = static_cast<int>(token_.size()),
            .num_rows = static_cast<int>(kv_len_.size()),
            .num_logits = 0,
            .token = token_.data(),
            .position = position_.data(),
            .kv_slot = kv_slot_.data(),
            .row_start = row_start_.data(),
            .kv_len = kv_len_.data(),
            .block_start = block_start_.data(),
            .block_id = block_id_.data(),
            .state_slot = state_slot_.data(),
            .logit_token = nullptr,
            .live_tokens = nullptr};
  }

 private:
  std::vector<int32_t> token_, position_, kv_slot_, row_start_, kv_len_, block_start_, block_id_,
      state_slot_;
};

}  // namespace switchyard::reference
