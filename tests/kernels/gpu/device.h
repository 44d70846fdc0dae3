// What the tests of kernels on a GPU share: the cuda backend (skipped where there is no device),
// tensors that go there and come back, weights packed from numbers, and what those become by the
// rules of each format. The references are those of tests/kernels/reference.h, in double.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "kernels/make_backend.h"
#include "tests/kernels/reference.h"

namespace switchyard::gpu {

using reference::Doubles;
using reference::Owned;

// bf16 outputs of f32 accumulation: half a unit in the last place of the largest element, and what
// bf16 rounding inside a fused op (normed rows, gated products) adds.
constexpr double kBf16Tolerance = 8e-3;

class Device : public testing::Test {
 protected:
  void SetUp() override {
    MadeBackend made = make_backend("cuda", {});
    if (made.backend == nullptr) GTEST_SKIP() << made.message;
    backend_ = std::move(made.backend);
  }
  Backend& backend() { return *backend_; }

  void* memory(int64_t bytes) {
    buffers_.push_back(backend_->allocate(std::max<int64_t>(bytes, 1)));
    EXPECT_FALSE(buffers_.back().empty());
    return buffers_.back().data();
  }
  Tensor put(const Tensor& host) {
    Tensor device = host;
    device.data = memory(host.bytes());
    backend_->upload(device.data, host.data, host.bytes());
    return device;
  }
  Tensor put(const Owned& host) { return put(host.view()); }
  template <typename T>
  const T* put(const std::vector<T>& host) {
    const auto bytes = static_cast<int64_t>(host.size() * sizeof(T));
    void* device = memory(bytes);
    backend_->upload(device, host.data(), bytes);
    return static_cast<const T*>(device);
  }
  // Every element a NaN (or -7): an output that must be written everywhere.
  Tensor poisoned(DType dtype, std::initializer_list<int64_t> shape) {
    return put(Owned::poisoned(dtype, shape));
  }
  Owned get(const Tensor& device) {
    Owned host = shaped_like(device);
    backend_->download(host.view().data, device.data, device.bytes());
    return host;
  }

  // The batch's arrays on the device. `logit_token` may be empty.
  RaggedBatch put(const RaggedBatch& host, const std::vector<int32_t>& logit_token = {}) {
    RaggedBatch batch = host;
    const auto array = [&](const int32_t* from, int64_t count) {
      return put(std::vector<int32_t>(from, from + count));
    };
    batch.token = array(host.token, host.num_tokens);
    batch.position = array(host.position, host.num_tokens);
    batch.kv_slot = array(host.kv_slot, host.num_tokens);
    batch.row_start = array(host.row_start, host.num_rows + 1);
    batch.kv_len = array(host.kv_len, host.num_rows);
    batch.block_start = array(host.block_start, host.num_rows + 1);
    batch.block_id = array(host.block_id, host.block_start[host.num_rows]);
    batch.state_slot = array(host.state_slot, host.num_rows);
    batch.logit_token = put(logit_token);
    batch.num_logits = static_cast<int>(logit_token.size());
    batch.live_tokens = put(std::vector<int32_t>{host.num_tokens});
    return batch;
  }

  // `source` [rows, cols] in the wanted format, packed by the backend.
  Weight pack(const Owned& source, WeightFormat format, ScaleChoice scales = ScaleChoice::kRound) {
    const int64_t rows = source.view().dim(0);
    const int64_t cols = source.view().dim(1);
    const int group = group_for(format, cols);
    const WeightBytes bytes = backend_->weight_bytes(format, group, rows, cols);
    const Weight weight{.data = memory(bytes.data),
                        .scale = bytes.scale > 0 ? memory(bytes.scale) : nullptr,
                        .format = format,
                        .group = group,
                        .rows = rows,
                        .cols = cols};
    backend_->pack({.out = weight, .source = put(source), .scales = scales});
    return weight;
  }
  // One matrix of each expert.
  ExpertWeight pack(const std::vector<Owned>& experts, WeightFormat format) {
    std::vector<const void*> data, scale;
    Weight last;
    for (const Owned& expert : experts) {
      last = pack(expert, format);
      data.push_back(last.data);
      scale.push_back(last.scale);
    }
    return {.data = put(data),
            .scale = last.scale != nullptr ? put(scale) : nullptr,
            .format = format,
            .group = last.group,
            .experts = static_cast<int64_t>(experts.size()),
            .rows = last.rows,
            .cols = last.cols};
  }

 private:
  static Owned shaped_like(const Tensor& t) {
    switch (t.rank) {
      case 1:
        return Owned(t.dtype, {t.dim(0)});
      case 2:
        return Owned(t.dtype, {t.dim(0), t.dim(1)});
      case 3:
        return Owned(t.dtype, {t.dim(0), t.dim(1), t.dim(2)});
      default:
        return Owned(t.dtype, {t.dim(0), t.dim(1), t.dim(2), t.dim(3)});
    }
  }
  std::unique_ptr<Backend> backend_;
  std::vector<Buffer> buffers_;
};

// Whether a case of this many multiplications is left out. Under a tool that makes kernels hundreds
// of times slower the environment says how many are too many (deploy/gpu_test.sh).
inline bool too_large(int64_t multiplications) {
  const char* most = std::getenv("SWITCHYARD_TEST_MULTIPLICATIONS");
  return most != nullptr && multiplications > std::atoll(most);
}

inline float round_bits(float value, DType dtype) {
  return reference::widen_bits(reference::narrow_bits(value, dtype), dtype);
}

inline float round_fp8(float value) {
  const float magnitude = std::min(std::abs(value), 448.0F);
  const int exponent = magnitude < 0.015625F ? -6 : std::ilogb(magnitude);
  const float step = std::ldexp(1.0F, exponent - 3);
  return std::copysign(std::min(std::nearbyint(magnitude / step) * step, 448.0F), value);
}

// What a matrix [.., cols] stands for once it was packed with ScaleChoice::kRound.
inline Doubles as_stored(const Owned& source, WeightFormat format) {
  const int64_t cols = source.view().dim(1);
  const int group = group_for(format, cols);
  const float largest_code = format == WeightFormat::kInt4   ? 7
                             : format == WeightFormat::kInt8 ? 127
                                                             : 448;
  Doubles values = source.values();
  for (int64_t i = 0; i < static_cast<int64_t>(values.size()); ++i) {
    if (format == WeightFormat::kBf16) {
      values[i] = round_bits(static_cast<float>(values[i]), DType::kBf16);
    }
    if (group == 0) continue;
    const int64_t col = i % cols;
    const int64_t begin = i - col + col / group * group;
    const int64_t end = std::min(begin + group, i - col + cols);
    float largest = 0;
    for (int64_t k = begin; k < end; ++k) {
      largest = std::max(largest, std::abs(static_cast<float>(source.at(k))));
    }
    float scale = largest / largest_code;
    if (format != WeightFormat::kFp8) {
      scale = round_bits(round_bits(scale, DType::kBf16), DType::kF16);
    }
    const float code = scale == 0 ? 0 : static_cast<float>(source.at(i)) / scale;
    const float rounded = format == WeightFormat::kFp8
                              ? round_fp8(code)
                              : std::clamp(std::nearbyint(code), -largest_code, largest_code);
    values[i] = static_cast<double>(rounded) * scale;
  }
  return values;
}

constexpr WeightFormat kFormats[] = {WeightFormat::kBf16, WeightFormat::kFp8, WeightFormat::kInt8,
                                     WeightFormat::kInt4};

}  // namespace switchyard::gpu
