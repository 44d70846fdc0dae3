// The Readback of backends whose device memory is host memory and whose ops are done when they
// return: a copy is there at once.
#pragma once

#include <cstring>
#include <vector>

#include "kernels/backend.h"

namespace switchyard {

class HostReadback final : public Readback {
 public:
  explicit HostReadback(int64_t bytes) : host_(static_cast<size_t>(bytes)) {}
  void start(const void* device, int64_t bytes) override {
    CHECK(bytes >= 0 && bytes <= static_cast<int64_t>(host_.size()));
    copied_ = static_cast<size_t>(bytes);
    if (bytes > 0) std::memcpy(host_.data(), device, copied_);
  }
  std::span<const std::byte> wait() override { return {host_.data(), copied_}; }

 private:
  std::vector<std::byte> host_;
  size_t copied_ = 0;
};

}  // namespace switchyard
