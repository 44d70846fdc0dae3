// Adds up bytes, flops and dependent steps. Each op's formula stands next to its name.
#include "kernels/null/null_backend.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/host_readback.h"

namespace switchyard {
namespace {

enum Op {
  kEmbed,
  kLinear,
  kGatedLinear,
  kShortConv,
  kQkv,
  kAttention,
  kRoute,
  kExpertUp,
  kExpertDown,
  kSample
};

constexpr int64_t kAlignment = 64;

class NullGraph final : public Graph {
 public:
  explicit NullGraph(std::vector<std::function<void()>> ops) : ops_(std::move(ops)) {}
  void replay() override {
    for (const auto& op : ops_) op();
  }

 private:
  const std::vector<std::function<void()>> ops_;
};

double bytes(const Tensor& tensor) { return static_cast<double>(tensor.bytes()); }

// x, read once, and the gain; a norm costs four flops an element (square, add, scale, gain).
Cost cost_of(const NormedInput& input) {
  const auto rows = static_cast<double>(input.rows().dim(0));
  const auto width = static_cast<double>(input.x.dim(1));
  return {.bytes = rows * width * static_cast<double>(bytes_of(input.x.dtype)) + bytes(input.gain),
          .flops = input.gain.empty() ? 0 : 4 * rows * width};
}

Cost product(const Weight& weight, int64_t rows) {
  return {
      .bytes = static_cast<double>(weight.bytes()),
      .flops = 2.0 * static_cast<double>(rows) * static_cast<double>(weight.rows * weight.cols)};
}

double expected_experts(const ExpertWeight& weight, const Routing& routing) {
  const auto experts = static_cast<double>(weight.experts);
  const auto tokens = static_cast<double>(routing.expert.dim(0));
  const auto top_k = static_cast<double>(routing.expert.dim(1));
  return experts * (1 - std::pow(1 - top_k / experts, tokens));
}

Cost product(const ExpertWeight& weight, const Routing& routing) {
  return {
      .bytes = expected_experts(weight, routing) * static_cast<double>(weight.bytes_per_expert()),
      .flops = 2.0 * static_cast<double>(routing.order.dim(0)) *
               static_cast<double>(weight.rows * weight.cols)};
}

}  // namespace

NullBackend::NullBackend(DType activation)
    : activation_(activation), memory_(std::make_shared<Memory>()) {
  reset();
}

NullBackend::NullBackend(const Backend& other)
    : activation_(other.activation_type()),
      stands_for_(&other),
      memory_(std::make_shared<Memory>()) {
  reset();
}

Cost NullBackend::cost() const {
  Cost total;
  for (const OpCost& op : ops_) total += op.cost;
  return total;
}

void NullBackend::reset() {
  constexpr std::array<std::string_view, kOps> kNames = {
      "embed",     "linear", "gated_linear", "short_conv",  "qkv",
      "attention", "route",  "expert_up",    "expert_down", "sample"};
  for (int i = 0; i < kOps; ++i) ops_[i] = {.op = kNames[i], .calls = 0, .cost = {}};
}

bool NullBackend::multiplies(WeightFormat format) const {
  return stands_for_ == nullptr || stands_for_->multiplies(format);
}

WeightBytes NullBackend::weight_bytes(WeightFormat format,
                                      int group,
                                      int64_t rows,
                                      int64_t cols) const {
  const int64_t data = matrix_bytes(format, 0, rows, cols);
  return {.data = data, .scale = matrix_bytes(format, group, rows, cols) - data};
}

int64_t NullBackend::free_bytes() const { return std::numeric_limits<int64_t>::max(); }

std::unique_ptr<Readback> NullBackend::make_readback(int64_t bytes) {
  return std::make_unique<HostReadback>(bytes);
}

// Loading is no part of a step.
void NullBackend::do_pack(const PackArgs&) {}
void NullBackend::do_fill_normal(const NormalArgs&) {}

Buffer NullBackend::allocate(int64_t bytes) {
  CHECK(bytes >= 0);
  void* memory = std::calloc(1, static_cast<size_t>(bytes) + kAlignment);
  if (memory == nullptr) return {};
  memory_->now += bytes;
  memory_->peak = std::max(memory_->peak, memory_->now);
  const uintptr_t padding = kAlignment - reinterpret_cast<uintptr_t>(memory) % kAlignment;
  return Buffer(static_cast<char*>(memory) + padding, bytes,
                [memory, bytes, counters = memory_](void*) {
                  counters->now -= bytes;
                  std::free(memory);
                });
}

void NullBackend::upload(void* device, const void* host, int64_t bytes) {
  CHECK(!capture_);
  if (bytes > 0) std::memcpy(device, host, static_cast<size_t>(bytes));
}

void NullBackend::download(void* host, const void* device, int64_t bytes) {
  CHECK(!capture_);
  if (bytes > 0) std::memcpy(host, device, static_cast<size_t>(bytes));
}

void NullBackend::copy(void* to, const void* from, int64_t bytes) {
  run([=] {
    if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
  });
}

void NullBackend::begin_capture() {
  CHECK(!capture_);
  capture_.emplace();
}

std::unique_ptr<Graph> NullBackend::end_capture() {
  CHECK(capture_.has_value());
  auto graph = std::make_unique<NullGraph>(std::move(*capture_));
  capture_.reset();
  return graph;
}

void NullBackend::run(std::function<void()> work) {
  if (capture_) {
    capture_->push_back(std::move(work));
  } else {
    work();
  }
}

// Each op is one dependent step.
void NullBackend::count(int op, const Cost& cost) {
  run([this, op, cost] {
    ++ops_[op].calls;
    ops_[op].cost += cost;
    ++ops_[op].cost.steps;
  });
}

// T rows of the table.
void NullBackend::do_embed(const EmbedArgs& args, const RaggedBatch& batch) {
  const auto rows = static_cast<double>(batch.num_tokens);
  const auto row_bytes =
      static_cast<double>(matrix_bytes(args.table.format, 0, 1, args.table.cols));
  count(kEmbed, {.bytes = rows * row_bytes + bytes(args.out)});
}

void NullBackend::do_linear(const LinearArgs& args) {
  Cost cost = cost_of(args.input);
  cost += product(args.weight, args.out.dim(0));
  cost.bytes += bytes(args.out) + bytes(args.residual);
  if (!args.residual.empty()) cost.flops += static_cast<double>(args.out.elements());
  count(kLinear, cost);
}

// silu(a) * b: five flops (negate, exp, add, divide, multiply).
void NullBackend::do_gated_linear(const GatedLinearArgs& args) {
  Cost cost = cost_of(args.input);
  cost += product(args.gate, args.out.dim(0));
  cost += product(args.up, args.out.dim(0));
  cost.bytes += bytes(args.out);
  cost.flops += 5.0 * static_cast<double>(args.out.elements());
  count(kGatedLinear, cost);
}

// Two gates and K multiply-adds a channel; the state of each row read and written.
void NullBackend::do_short_conv(const ShortConvArgs& args, const RaggedBatch& batch) {
  const auto state_columns = static_cast<double>(args.state.dim(1) * args.state.dim(2));
  Cost cost = cost_of(args.input);
  cost += product(args.in_proj, batch.num_tokens);
  cost.bytes += bytes(args.taps) + 2.0 * batch.num_rows * state_columns * sizeof(float);
  cost.bytes += bytes(args.out);
  cost.flops += static_cast<double>(args.out.elements()) *
                (2.0 + 2.0 * static_cast<double>(args.taps.dim(1)));
  count(kShortConv, cost);
}

// New keys and values written; head norms four flops an element, rotation three.
void NullBackend::do_qkv(const QkvArgs& args, const RaggedBatch& batch) {
  const auto tokens = static_cast<double>(batch.num_tokens);
  const auto q_width = static_cast<double>(args.q_proj.rows);
  const auto kv_width = static_cast<double>(args.k_proj.rows);
  Cost cost = cost_of(args.input);
  cost += product(args.q_proj, batch.num_tokens);
  cost += product(args.k_proj, batch.num_tokens);
  cost += product(args.v_proj, batch.num_tokens);
  cost.bytes += bytes(args.q_gain) + bytes(args.k_gain) + bytes(args.inv_frequency);
  cost.bytes += bytes(args.q);
  cost.bytes += tokens * 2 * kv_width * static_cast<double>(bytes_of(args.cache.key.dtype));
  cost.flops += tokens * (3 * (q_width + kv_width) + (args.q_gain.empty() ? 0 : 4 * q_width) +
                          (args.k_gain.empty() ? 0 : 4 * kv_width));
  count(kQkv, cost);
}

// Each row's keys and values once; two multiply-adds per query, visible key and element.
void NullBackend::do_attention(const AttentionArgs& args, const RaggedBatch& batch) {
  run([this, args, batch] {
    const AttentionShape& shape = args.shape;
    const double key_bytes =
        2.0 * shape.kv_heads * shape.head_dim * static_cast<double>(bytes_of(args.cache.key.dtype));
    Cost cost{.bytes = bytes(args.q) + bytes(args.out), .steps = 1};
    for (int r = 0; r < batch.num_rows; ++r) {
      const double tokens = batch.row_start[r + 1] - batch.row_start[r];
      const double keys = batch.kv_len[r];
      const double seen = tokens * (keys - (tokens - 1) / 2);  // by all its tokens together
      cost.bytes += keys * key_bytes;
      cost.flops += 4.0 * seen * shape.heads * shape.head_dim;
    }
    ++ops_[kAttention].calls;
    ops_[kAttention].cost += cost;
  });
}

// A sigmoid is four flops.
void NullBackend::do_route(const RouteArgs& args) {
  const Routing& routing = args.routing;
  Cost cost = cost_of(args.input);
  cost += product(args.router, routing.expert.dim(0));
  cost.bytes += bytes(args.bias) + bytes(routing.expert) + bytes(routing.weight) +
                bytes(routing.order) + bytes(routing.expert_start);
  cost.flops += 4.0 * static_cast<double>(routing.expert.dim(0) * args.router.rows);
  count(kRoute, cost);
}

void NullBackend::do_expert_up(const ExpertUpArgs& args) {
  Cost cost = product(args.gate, args.routing);
  cost += product(args.up, args.routing);
  cost.bytes += bytes(args.x) + bytes(args.out);
  cost.flops += 5.0 * static_cast<double>(args.out.elements());
  count(kExpertUp, cost);
}

// A multiply-add per expert's element, and the residual.
void NullBackend::do_expert_down(const ExpertDownArgs& args) {
  Cost cost = product(args.down, args.routing);
  cost.bytes += bytes(args.hidden) + bytes(args.residual) + bytes(args.out);
  cost.flops += 2.0 * static_cast<double>(args.expert_work.elements()) +
                static_cast<double>(args.out.elements());
  count(kExpertDown, cost);
}

// One look at every logit.
void NullBackend::do_sample(const SampleArgs& args) {
  count(kSample, {.bytes = bytes(args.logits) + bytes(args.token),
                  .flops = static_cast<double>(args.logits.elements())});
}

}  // namespace switchyard
