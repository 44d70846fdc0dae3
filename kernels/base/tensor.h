// Tensor: a non-owning, contiguous, row-major view of device memory. No arithmetic, no ownership.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>

#include "kernels/base/check.h"

namespace switchyard {

enum class DType : uint8_t { kF32, kF16, kBf16, kI32 };

constexpr int64_t bytes_of(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kI32 ? 4 : 2;
}

constexpr const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "f32";
    case DType::kF16:
      return "f16";
    case DType::kBf16:
      return "bf16";
    case DType::kI32:
      return "i32";
  }
  return "?";
}

struct Tensor {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int rank = 0;
  std::array<int64_t, 4> shape{};  // the first `rank` entries count

  Tensor() = default;  // empty: "there is none"
  Tensor(void* memory, DType type, std::initializer_list<int64_t> sizes)
      : data(memory), dtype(type), rank(static_cast<int>(sizes.size())) {
    CHECK(sizes.size() <= shape.size());
    int i = 0;
    for (const int64_t size : sizes) shape[i++] = size;
  }

  [[nodiscard]] bool empty() const { return rank == 0; }
  [[nodiscard]] int64_t dim(int i) const { return shape[i]; }
  [[nodiscard]] int64_t elements() const {
    if (rank == 0) return 0;
    int64_t product = 1;
    for (int i = 0; i < rank; ++i) product *= shape[i];
    return product;
  }
  [[nodiscard]] int64_t bytes() const { return elements() * bytes_of(dtype); }

  // Typed access; the caller knows the dtype, and is checked.
  [[nodiscard]] float* f32() const {
    CHECK(dtype == DType::kF32);
    return static_cast<float*>(data);
  }
  [[nodiscard]] int32_t* i32() const {
    CHECK(dtype == DType::kI32);
    return static_cast<int32_t*>(data);
  }

  // The first `count` rows along the outermost dimension.
  [[nodiscard]] Tensor first(int64_t count) const {
    CHECK(rank > 0 && count <= shape[0]);
    Tensor view = *this;
    view.shape[0] = count;
    return view;
  }

  [[nodiscard]] bool is(DType type, std::initializer_list<int64_t> sizes) const {
    if (dtype != type || rank != static_cast<int>(sizes.size())) return false;
    int i = 0;
    for (const int64_t size : sizes) {
      if (shape[i++] != size) return false;
    }
    return true;
  }
};

}  // namespace switchyard
