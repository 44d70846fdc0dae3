// The CPU backend: f32 activations, weights used where they lie. Only wires ops to their stems.
#pragma once

#include <memory>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard {

// Thread: one at a time, as Backend says. A Graph is used no longer than the backend it came from.
class CpuBackend final : public Backend {
 public:
  // `threads` counts the calling thread; at least 1.
  explicit CpuBackend(int threads);

  [[nodiscard]] std::string_view name() const override { return "cpu"; }
  [[nodiscard]] DType activation_type() const override { return DType::kF32; }

  [[nodiscard]] bool reads_host_memory() const override { return true; }
  [[nodiscard]] bool multiplies(WeightFormat) const override;
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

  void begin_capture() override;
  std::unique_ptr<Graph> end_capture() override;

 private:
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

  // Runs `op` now, or keeps it for the graph being captured.
  template <typename Op>
  void run(Op op);

  cpu::ThreadPool pool_;
  std::optional<std::vector<std::function<void()>>> capture_;
};

}  // namespace switchyard
