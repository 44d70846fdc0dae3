// OpRecorder: a Backend that passes everything on to another and remembers the ops of the step that
// ran last, be it a graph or not, so that they can be run again: all of them without the engine
// around them, or one kind alone. Not here: how an op's time compares with its cost (bench_report).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/backend.h"
#include "kernels/null/null_backend.h"

namespace switchyard {

// All ops of one kind in one step. Products of one op with matrices of different shapes are kinds
// of their own.
struct OpTimes {
  std::string name;     // "expert_up", "linear 2048 x 7168"
  std::string_view op;  // as NullBackend names it
  int64_t calls = 0;
  double alone = 0;  // seconds of all calls when nothing else runs
  // Seconds that the step is shorter without them: less than `alone` where they overlap with their
  // neighbours, more where what the kind reads stays in a cache when it runs alone. Nothing for
  // what others take indices from.
  std::optional<double> share;
  Cost cost;  // not of attention, which depends on lengths that are on the device
};

struct ReplayedStep {
  double seconds = 0;  // of the step as one graph, back to back
  // Different experts that the step's tokens chose, mean of its layers; 0 without experts.
  double distinct_experts = 0;
  std::vector<OpTimes> ops;  // by first use
};

// One thread at a time, as Backend says.
class OpRecorder final : public Backend {
 public:
  // `backend` must outlive it.
  explicit OpRecorder(Backend& backend) : backend_(backend) {}

  // Replays the ops of the last step on whatever is in memory; contents of activations, caches and
  // drawn tokens are not the step's afterwards. With `by_op` also each kind of them.
  ReplayedStep replay(bool by_op);

  [[nodiscard]] std::string_view name() const override { return backend_.name(); }
  [[nodiscard]] DType activation_type() const override { return backend_.activation_type(); }
  [[nodiscard]] bool reads_host_memory() const override { return backend_.reads_host_memory(); }
  [[nodiscard]] bool multiplies(WeightFormat format) const override {
    return backend_.multiplies(format);
  }
  [[nodiscard]] WeightBytes weight_bytes(WeightFormat format,
                                         int group,
                                         int64_t rows,
                                         int64_t cols) const override {
    return backend_.weight_bytes(format, group, rows, cols);
  }
  Buffer allocate(int64_t bytes) override { return backend_.allocate(bytes); }
  [[nodiscard]] int64_t free_bytes() const override { return backend_.free_bytes(); }
  void upload(void* device, const void* host, int64_t bytes) override;
  void download(void* host, const void* device, int64_t bytes) override {
    backend_.download(host, device, bytes);
  }
  void copy(void* to, const void* from, int64_t bytes) override;
  void synchronize() override { backend_.synchronize(); }
  std::unique_ptr<Readback> make_readback(int64_t bytes) override {
    return backend_.make_readback(bytes);
  }
  void begin_capture() override;
  std::unique_ptr<Graph> end_capture() override;

 private:
  struct Op {
    std::string name;
    std::string_view op;
    std::function<void(Backend&)> run;
    Tensor chosen{};  // of a route: the experts
  };
  using Ops = std::vector<Op>;
  class RecordedGraph;

  void do_pack(const PackArgs& args) override { backend_.pack(args); }
  void do_fill_normal(const NormalArgs& args) override { backend_.fill_normal(args); }
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

  void record(Op op);
  double distinct_experts(const Ops& ops);
  double seconds_of(const Ops& ops, const std::function<bool(const Op&)>& wanted);
  OpTimes times_of(const Ops& ops, const Op& kind, double whole);

  Backend& backend_;
  std::shared_ptr<Ops> last_ = std::make_shared<Ops>();
  std::shared_ptr<Ops> capturing_;  // null outside of a capture
};

}  // namespace switchyard
