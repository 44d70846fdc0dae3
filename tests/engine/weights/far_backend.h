// A backend whose memory is not the host's, as far as loading can tell: it takes nothing that it
// did not allocate, and has only so much. Packs as the CPU does; computes nothing.
#pragma once

#include <map>
#include <memory>
#include <set>

#include "kernels/cpu/cpu_backend.h"

namespace switchyard {

class FarBackend final : public Backend {
 public:
  explicit FarBackend(std::set<WeightFormat> formats, int64_t bytes = int64_t{1} << 30)
      : formats_(std::move(formats)), memory_(std::make_shared<Memory>()) {
    memory_->left = bytes;
  }

  // How many of its buffers are alive, and their bytes.
  [[nodiscard]] size_t buffers() const { return memory_->sizes.size(); }
  [[nodiscard]] int64_t bytes() const {
    int64_t sum = 0;
    for (const auto& [address, size] : memory_->sizes) sum += size;
    return sum;
  }

  [[nodiscard]] std::string_view name() const override { return "far"; }
  [[nodiscard]] DType activation_type() const override { return DType::kBf16; }
  [[nodiscard]] bool reads_host_memory() const override { return false; }
  [[nodiscard]] bool multiplies(WeightFormat format) const override {
    return formats_.contains(format);
  }
  [[nodiscard]] WeightBytes weight_bytes(WeightFormat format,
                                         int group,
                                         int64_t rows,
                                         int64_t cols) const override {
    return cpu_.weight_bytes(format, group, rows, cols);
  }

  Buffer allocate(int64_t bytes) override {
    if (bytes > memory_->left) return {};
    auto buffer = std::make_shared<Buffer>(cpu_.allocate(bytes));
    memory_->left -= bytes;
    memory_->sizes.emplace(static_cast<const char*>(buffer->data()), bytes);
    return {buffer->data(), bytes, [buffer, bytes, memory = memory_](void* data) {
              memory->left += bytes;
              memory->sizes.erase(static_cast<const char*>(data));
            }};
  }
  [[nodiscard]] int64_t free_bytes() const override { return memory_->left; }
  void upload(void* device, const void* host, int64_t bytes) override {
    check_mine(device, bytes);
    cpu_.upload(device, host, bytes);
  }
  void download(void* host, const void* device, int64_t bytes) override {
    check_mine(device, bytes);
    cpu_.download(host, device, bytes);
  }
  void copy(void*, const void*, int64_t) override { CHECK(false); }
  void synchronize() override {}
  std::unique_ptr<Readback> make_readback(int64_t) override { return nullptr; }
  void begin_capture() override { CHECK(false); }
  std::unique_ptr<Graph> end_capture() override { return nullptr; }

 private:
  struct Memory {
    int64_t left = 0;
    std::map<const char*, int64_t> sizes;
  };

  void check_mine(const void* data, int64_t bytes) const {
    const auto* begin = static_cast<const char*>(data);
    auto after = memory_->sizes.upper_bound(begin);
    CHECK(after != memory_->sizes.begin());
    const auto& [address, size] = *--after;
    CHECK(begin >= address && begin + bytes <= address + size);
  }

  void do_pack(const PackArgs& args) override {
    const Weight& out = args.out;
    const WeightBytes bytes = weight_bytes(out.format, out.group, out.rows, out.cols);
    check_mine(out.data, bytes.data);
    if (bytes.scale > 0) check_mine(out.scale, bytes.scale);
    check_mine(args.source.data, args.source.bytes());
    if (!args.given_scale.empty()) check_mine(args.given_scale.data, args.given_scale.bytes());
    cpu_.pack(args);
  }
  void do_fill_normal(const NormalArgs& args) override {
    check_mine(args.out.data, args.out.bytes());
    cpu_.fill_normal(args);
  }
  void do_embed(const EmbedArgs&, const RaggedBatch&) override { CHECK(false); }
  void do_linear(const LinearArgs&) override { CHECK(false); }
  void do_gated_linear(const GatedLinearArgs&) override { CHECK(false); }
  void do_short_conv(const ShortConvArgs&, const RaggedBatch&) override { CHECK(false); }
  void do_qkv(const QkvArgs&, const RaggedBatch&) override { CHECK(false); }
  void do_attention(const AttentionArgs&, const RaggedBatch&) override { CHECK(false); }
  void do_route(const RouteArgs&) override { CHECK(false); }
  void do_expert_up(const ExpertUpArgs&) override { CHECK(false); }
  void do_expert_down(const ExpertDownArgs&) override { CHECK(false); }
  void do_sample(const SampleArgs&) override { CHECK(false); }

  CpuBackend cpu_{1};
  std::set<WeightFormat> formats_;
  std::shared_ptr<Memory> memory_;  // shared with the buffers, which may outlive the backend
};

}  // namespace switchyard
