// The null backend: an interpreter of models that computes nothing and adds up what a step must at
// least cost. Its memory is host memory and copies are done, so that it can read a batch's lengths;
// the contents of outputs are left as they were.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include "kernels/backend.h"

namespace switchyard {

// The floor of some work. Bytes: every weight once, the rows of the embedding that are looked up,
// the experts expected under uniform routing (E (1 - (1 - K/E)^T) of E), the keys and values of
// every row once, activations in and out of each op. Steps: waits for the whole of what came
// before.
struct Cost {
  double bytes = 0;
  double flops = 0;
  int64_t steps = 0;

  Cost& operator+=(const Cost& other) {
    bytes += other.bytes;
    flops += other.flops;
    steps += other.steps;
    return *this;
  }
};

struct OpCost {
  std::string_view op;
  int64_t calls = 0;
  Cost cost;
};

// Thread: one at a time, as Backend says.
class NullBackend final : public Backend {
 public:
  static constexpr int kOps = 10;

  // Counts activations as `activation` and multiplies every format.
  explicit NullBackend(DType activation);
  // Stands in for `other`, which must outlive it: has its activations and multiplies what it does.
  explicit NullBackend(const Backend& other);

  // Everything since the beginning or the last reset; by op in the order of backend.h.
  [[nodiscard]] Cost cost() const;
  [[nodiscard]] const std::array<OpCost, kOps>& by_op() const { return ops_; }
  void reset();

  // Of buffers from allocate().
  [[nodiscard]] int64_t allocated_bytes() const { return memory_->now; }
  [[nodiscard]] int64_t peak_allocated_bytes() const { return memory_->peak; }

  [[nodiscard]] std::string_view name() const override { return "null"; }
  [[nodiscard]] DType activation_type() const override { return activation_; }
  [[nodiscard]] bool reads_host_memory() const override { return true; }
  [[nodiscard]] bool multiplies(WeightFormat format) const override;
  [[nodiscard]] WeightBytes weight_bytes(WeightFormat format,
                                         int group,
                                         int64_t rows,
                                         int64_t cols) const override;

  Buffer allocate(int64_t bytes) override;
  [[nodiscard]] int64_t free_bytes() const override;
  void upload(void* device, const void* host, int64_t bytes) override;
  void download(void* host, const void* device, int64_t bytes) override;
  void copy(void* to, const void* from, int64_t bytes) override;
  void synchronize() override {}
  std::unique_ptr<Readback> make_readback(int64_t bytes) override;
  // What is captured counts when the graph is replayed, with the lengths of then.
  void begin_capture() override;
  std::unique_ptr<Graph> end_capture() override;

 private:
  struct Memory {
    int64_t now = 0;
    int64_t peak = 0;
  };

  void do_pack(const PackArgs& args) override;
  void do_fill_normal(const NormalArgs& args) override;
  void do_embed(const EmbedArgs& args, const RaggedBatch& batch) override;
  void do_linear(const LinearArgs& args) override;
  void do_gated_linear(const GatedLinearArgs& args) override;
  void do_short_conv(const ShortConvArgs& args, const RaggedBatch& batch) override;
  void do_qkv(const QkvArgs& args, const RaggedBatch& batch) override;
  void do_attention(const AttentionArgs& args, const RaggedBatch& batch) override;
  void do_route(const RouteArgs& args) override;
  void do_expert_up(const ExpertUpArgs& args) override;
  void do_expert_down(const ExpertDownArgs& args) override;
  void do_sample(const SampleArgs& args) override;

  void count(int op, const Cost& cost);
  void run(std::function<void()> work);

  const DType activation_;
  const Backend* const stands_for_ = nullptr;
  std::array<OpCost, kOps> ops_;
  std::shared_ptr<Memory> memory_;  // shared with the buffers, which may outlive the backend
  std::optional<std::vector<std::function<void()>>> capture_;
};

}  // namespace switchyard
