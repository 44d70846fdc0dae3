// A backend that leaves everything to another: what test doubles of backends change one op of.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace switchyard {

class ForwardingBackend : public Backend {
 public:
  // `inner` must outlive it.
  explicit ForwardingBackend(Backend& inner) : inner_(inner) {}

  [[nodiscard]] std::string_view name() const override { return inner_.name(); }
  [[nodiscard]] DType activation_type() const override { return inner_.activation_type(); }
  [[nodiscard]] bool reads_host_memory() const override { return inner_.reads_host_memory(); }
  [[nodiscard]] bool multiplies(WeightFormat f) const override { return inner_.multiplies(f); }
  [[nodiscard]] WeightBytes weight_bytes(WeightFormat format,
                                         int group,
                                         int64_t rows,
                                         int64_t cols) const override {
    return inner_.weight_bytes(format, group, rows, cols);
  }
  Buffer allocate(int64_t bytes) override { return inner_.allocate(bytes); }
  [[nodiscard]] int64_t free_bytes() const override { return inner_.free_bytes(); }
  void upload(void* device, const void* host, int64_t bytes) override {
    inner_.upload(device, host, bytes);
  }
  void download(void* host, const void* device, int64_t bytes) override {
    inner_.download(host, device, bytes);
  }
  void copy(void* to, const void* from, int64_t bytes) override { inner_.copy(to, from, bytes); }
  void synchronize() override { inner_.synchronize(); }
  std::unique_ptr<Readback> make_readback(int64_t bytes) override {
    return inner_.make_readback(bytes);
  }
  void begin_capture() override { inner_.begin_capture(); }
  std::unique_ptr<Graph> end_capture() override { return inner_.end_capture(); }

 protected:
  void do_pack(const PackArgs& args) override { inner_.pack(args); }
  void do_fill_normal(const NormalArgs& args) override { inner_.fill_normal(args); }
  void do_embed(const EmbedArgs& args, const RaggedBatch& batch) override {
    inner_.embed(args, batch);
  }
  void do_linear(const LinearArgs& args) override { inner_.linear(args); }
  void do_gated_linear(const GatedLinearArgs& args) override { inner_.gated_linear(args); }
  void do_short_conv(const ShortConvArgs& args, const RaggedBatch& batch) override {
    inner_.short_conv(args, batch);
  }
  void do_qkv(const QkvArgs& args, const RaggedBatch& batch) override { inner_.qkv(args, batch); }
  void do_attention(const AttentionArgs& args, const RaggedBatch& batch) override {
    inner_.attention(args, batch);
  }
  void do_route(const RouteArgs& args) override { inner_.route(args); }
  void do_expert_up(const ExpertUpArgs& args) override { inner_.expert_up(args); }
  void do_expert_down(const ExpertDownArgs& args) override { inner_.expert_down(args); }
  void do_sample(const SampleArgs& args) override { inner_.sample(args); }

  [[nodiscard]] Backend& inner() { return inner_; }

 private:
  Backend& inner_;
};

}  // namespace switchyard
