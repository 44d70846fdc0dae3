#include "node/bench_ops.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

namespace switchyard {
namespace {

constexpr double kSecondsOfReplays = 0.03;
constexpr int kMostReplays = 300;
// A graph of fewer ops would be timed by how fast graphs can be launched.
constexpr int kFewestOpsOfAGraph = 64;

constexpr std::string_view kRoute = "route";

bool reads_routing(std::string_view op) { return op == "expert_up" || op == "expert_down"; }

std::string shape_of(const Weight& weight) {
  return std::to_string(weight.rows) + " x " + std::to_string(weight.cols);
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

class OpRecorder::RecordedGraph final : public Graph {
 public:
  RecordedGraph(OpRecorder& recorder, std::unique_ptr<Graph> graph, std::shared_ptr<Ops> ops)
      : recorder_(recorder), graph_(std::move(graph)), ops_(std::move(ops)) {}
  void replay() override {
    recorder_.last_ = ops_;
    graph_->replay();
  }

 private:
  OpRecorder& recorder_;
  const std::unique_ptr<Graph> graph_;
  const std::shared_ptr<Ops> ops_;
};

// A step begins with the upload of its batch.
void OpRecorder::upload(void* device, const void* host, int64_t bytes) {
  last_ = std::make_shared<Ops>();
  backend_.upload(device, host, bytes);
}

void OpRecorder::begin_capture() {
  CHECK(capturing_ == nullptr);
  capturing_ = std::make_shared<Ops>();
  backend_.begin_capture();
}

std::unique_ptr<Graph> OpRecorder::end_capture() {
  CHECK(capturing_ != nullptr);
  return std::make_unique<RecordedGraph>(*this, backend_.end_capture(), std::move(capturing_));
}

void OpRecorder::record(Op op) {
  op.run(backend_);
  (capturing_ != nullptr ? *capturing_ : *last_).push_back(std::move(op));
}

void OpRecorder::copy(void* to, const void* from, int64_t bytes) {
  record({"copy", "copy", [=](Backend& backend) { backend.copy(to, from, bytes); }, {}});
}
void OpRecorder::do_embed(const EmbedArgs& args, const RaggedBatch& batch) {
  record({"embed", "embed", [=](Backend& backend) { backend.embed(args, batch); }, {}});
}
void OpRecorder::do_linear(const LinearArgs& args) {
  record({"linear " + shape_of(args.weight),
          "linear",
          [=](Backend& backend) { backend.linear(args); },
          {}});
}
void OpRecorder::do_gated_linear(const GatedLinearArgs& args) {
  record({"gated_linear " + shape_of(args.gate),
          "gated_linear",
          [=](Backend& backend) { backend.gated_linear(args); },
          {}});
}
void OpRecorder::do_short_conv(const ShortConvArgs& args, const RaggedBatch& batch) {
  record(
      {"short_conv", "short_conv", [=](Backend& backend) { backend.short_conv(args, batch); }, {}});
}
void OpRecorder::do_qkv(const QkvArgs& args, const RaggedBatch& batch) {
  record({"qkv", "qkv", [=](Backend& backend) { backend.qkv(args, batch); }, {}});
}
void OpRecorder::do_attention(const AttentionArgs& args, const RaggedBatch& batch) {
  record({"attention", "attention", [=](Backend& backend) { backend.attention(args, batch); }, {}});
}
void OpRecorder::do_route(const RouteArgs& args) {
  record({.name = std::string(kRoute),
          .op = kRoute,
          .run = [=](Backend& backend) { backend.route(args); },
          .chosen = args.routing.expert});
}
void OpRecorder::do_expert_up(const ExpertUpArgs& args) {
  record({"expert_up", "expert_up", [=](Backend& backend) { backend.expert_up(args); }, {}});
}
void OpRecorder::do_expert_down(const ExpertDownArgs& args) {
  record({"expert_down", "expert_down", [=](Backend& backend) { backend.expert_down(args); }, {}});
}
void OpRecorder::do_sample(const SampleArgs& args) {
  record({"sample", "sample", [=](Backend& backend) { backend.sample(args); }, {}});
}

ReplayedStep OpRecorder::replay(bool by_op) {
  const std::shared_ptr<const Ops> ops = last_;  // replays are not steps
  CHECK(!ops->empty());
  backend_.synchronize();
  ReplayedStep step;
  step.seconds = seconds_of(*ops, [](const Op&) { return true; });
  step.distinct_experts = distinct_experts(*ops);
  if (!by_op) return step;
  for (const Op& op : *ops) {
    const auto same = [&op](const OpTimes& times) { return times.name == op.name; };
    if (std::ranges::none_of(step.ops, same)) {
      step.ops.push_back(times_of(*ops, op, step.seconds));
    }
  }
  return step;
}

double OpRecorder::distinct_experts(const Ops& ops) {
  size_t distinct = 0;
  int layers = 0;
  for (const Op& op : ops) {
    op.run(backend_);
    if (op.chosen.empty()) continue;
    std::vector<int32_t> chosen(static_cast<size_t>(op.chosen.elements()));
    backend_.download(chosen.data(), op.chosen.data, op.chosen.bytes());
    std::set<int32_t> experts(chosen.begin(), chosen.end());
    experts.erase(-1);  // padding's
    distinct += experts.size();
    ++layers;
  }
  return layers == 0 ? 0 : static_cast<double>(distinct) / layers;
}

// Scratch memory is used many times in a step: what an op reads may be any numbers by now, but
// indices must be indices. So routing is computed again where it is read.
OpTimes OpRecorder::times_of(const Ops& ops, const Op& kind, double whole) {
  OpTimes times;
  times.name = kind.name;
  times.op = kind.op;
  NullBackend null(backend_.activation_type());
  for (const Op& op : ops) {
    if (op.name != kind.name) continue;
    ++times.calls;
    if (kind.op != "attention") op.run(null);
  }
  times.cost = null.cost();
  if (reads_routing(kind.op)) {
    times.alone =
        seconds_of(ops, [&](const Op& op) { return op.name == kind.name || op.op == kRoute; }) -
        seconds_of(ops, [](const Op& op) { return op.op == kRoute; });
  } else {
    times.alone = seconds_of(ops, [&](const Op& op) { return op.name == kind.name; });
  }
  if (kind.op != kRoute) {
    times.share = whole - seconds_of(ops, [&](const Op& op) { return op.name != kind.name; });
  }
  return times;
}

// Of those ops of a step that are wanted, in one graph that holds them often enough.
double OpRecorder::seconds_of(const Ops& ops, const std::function<bool(const Op&)>& wanted) {
  const auto count = static_cast<int>(std::ranges::count_if(ops, wanted));
  if (count == 0) return 0;
  const int copies = std::max(1, kFewestOpsOfAGraph / count);
  backend_.begin_capture();
  for (int copy = 0; copy < copies; ++copy) {
    for (const Op& op : ops) {
      if (wanted(op)) op.run(backend_);
    }
  }
  const std::unique_ptr<Graph> graph = backend_.end_capture();
  const auto replays = [&](int times) {
    const double began = now();
    for (int i = 0; i < times; ++i) graph->replay();
    backend_.synchronize();
    return (now() - began) / times;
  };
  replays(1);  // the first brings the graph to the device
  const double once = replays(1);
  const int times = std::clamp(static_cast<int>(kSecondsOfReplays / once), 1, kMostReplays);
  return replays(times) / copies;
}

}  // namespace switchyard
