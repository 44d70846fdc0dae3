// The door of every op: shapes and types are checked here, once for all backends.
// Computes nothing. What is not checked is what only the device can read.
#include "kernels/backend.h"

namespace switchyard {
namespace {

void check_groups(WeightFormat format, int group, bool has_scale) {
  CHECK(is_quantised(format) == (group > 0) && is_quantised(format) == has_scale);
  CHECK(group == 0 || group == 32 || group == 64 || group == 128);
}

void check_matrix(const Weight& weight, int64_t rows, int64_t cols) {
  CHECK(!weight.empty());
  check_groups(weight.format, weight.group, weight.scale != nullptr);
  CHECK(weight.rows == rows && weight.cols == cols);
}

void check_experts(const ExpertWeight& weight, int64_t rows, int64_t cols) {
  CHECK(weight.data != nullptr && weight.experts > 0);
  check_groups(weight.format, weight.group, weight.scale != nullptr);
  CHECK(weight.rows == rows && weight.cols == cols);
}

// Returns the features of the input.
int64_t check_input(const NormedInput& input, DType activation) {
  const Tensor& x = input.x;
  CHECK(x.rank == 2 && x.dtype == activation);
  if (input.gain.empty()) {
    CHECK(input.gather == nullptr);
    return x.dim(1);
  }
  CHECK(input.gain.is(DType::kF32, {x.dim(1)}));
  CHECK(input.normed.rank == 2 && input.normed.dtype == activation);
  CHECK(input.normed.dim(1) == x.dim(1));
  CHECK(input.gather != nullptr || input.normed.dim(0) == x.dim(0));
  return x.dim(1);
}

void check_cache(const KvCache& cache, const AttentionShape& shape) {
  CHECK(shape.kv_heads > 0 && shape.heads > 0 && shape.heads % shape.kv_heads == 0);
  CHECK(shape.head_dim > 0 && shape.head_dim % 2 == 0 && shape.block_tokens > 0);
  const Tensor& key = cache.key;
  CHECK(key.rank == 4 && key.dtype != DType::kI32);
  CHECK(key.is(key.dtype, {key.dim(0), shape.kv_heads, shape.block_tokens, shape.head_dim}));
  CHECK(
      cache.value.is(key.dtype, {key.dim(0), shape.kv_heads, shape.block_tokens, shape.head_dim}));
}

// Returns top_k.
int64_t check_routing(const Routing& routing, int64_t tokens, int64_t experts) {
  CHECK(routing.expert.rank == 2);
  const int64_t top_k = routing.expert.dim(1);
  CHECK(top_k > 0 && top_k <= experts);
  CHECK(routing.expert.is(DType::kI32, {tokens, top_k}));
  CHECK(routing.weight.is(DType::kF32, {tokens, top_k}));
  CHECK(routing.order.is(DType::kI32, {tokens * top_k}));
  CHECK(routing.expert_start.is(DType::kI32, {experts + 1}));
  return top_k;
}

}  // namespace

void Backend::pack(const PackArgs& args) {
  check_matrix(args.out, args.out.rows, args.out.cols);
  CHECK(args.source.dtype != DType::kI32);
  CHECK(args.source.is(args.source.dtype, {args.out.rows, args.out.cols}));
  if (!args.given_scale.empty()) {
    CHECK(args.out.format == WeightFormat::kFp8);
    const int64_t groups = (args.out.cols + args.out.group - 1) / args.out.group;
    CHECK(args.given_scale.is(DType::kF32, {args.out.rows, groups}));
  }
  do_pack(args);
}

void Backend::fill_normal(const NormalArgs& args) {
  CHECK(args.out.dtype == DType::kF32 || args.out.dtype == DType::kBf16);
  do_fill_normal(args);
}

void Backend::embed(const EmbedArgs& args, const RaggedBatch& batch) {
  CHECK(args.table.rows > 0);
  check_matrix(args.table, args.table.rows, args.table.cols);
  CHECK(!is_quantised(args.table.format));
  CHECK(args.out.is(activation_type(), {batch.num_tokens, args.table.cols}));
  do_embed(args, batch);
}

void Backend::linear(const LinearArgs& args) {
  const int64_t features = check_input(args.input, activation_type());
  check_matrix(args.weight, args.weight.rows, features);
  const DType type = args.out.dtype;
  CHECK(type == activation_type() || type == DType::kF32);
  CHECK(args.out.is(type, {args.input.rows().dim(0), args.weight.rows}));
  if (!args.residual.empty()) {
    CHECK(args.residual.is(activation_type(), {args.out.dim(0), args.out.dim(1)}));
  }
  do_linear(args);
}

void Backend::gated_linear(const GatedLinearArgs& args) {
  const int64_t features = check_input(args.input, activation_type());
  check_matrix(args.gate, args.gate.rows, features);
  check_matrix(args.up, args.gate.rows, features);
  CHECK(args.gate.format == args.up.format);
  CHECK(args.out.is(activation_type(), {args.input.rows().dim(0), args.gate.rows}));
  do_gated_linear(args);
}

void Backend::short_conv(const ShortConvArgs& args, const RaggedBatch& batch) {
  const int64_t features = check_input(args.input, activation_type());
  CHECK(args.input.rows().dim(0) == batch.num_tokens);
  check_matrix(args.in_proj, 3 * features, features);
  CHECK(args.taps.rank == 2 && args.taps.dim(1) >= 2);
  CHECK(args.taps.is(DType::kF32, {features, args.taps.dim(1)}));
  CHECK(args.state.rank == 3);
  CHECK(args.state.is(DType::kF32, {args.state.dim(0), args.taps.dim(1) - 1, features}));
  CHECK(args.projected_work.is(activation_type(), {batch.num_tokens, 3 * features}));
  CHECK(args.out.is(activation_type(), {batch.num_tokens, features}));
  do_short_conv(args, batch);
}

void Backend::qkv(const QkvArgs& args, const RaggedBatch& batch) {
  const int64_t features = check_input(args.input, activation_type());
  const AttentionShape& shape = args.shape;
  CHECK(args.input.rows().dim(0) == batch.num_tokens);
  check_cache(args.cache, shape);
  check_matrix(args.q_proj, int64_t{shape.heads} * shape.head_dim, features);
  check_matrix(args.k_proj, int64_t{shape.kv_heads} * shape.head_dim, features);
  check_matrix(args.v_proj, int64_t{shape.kv_heads} * shape.head_dim, features);
  CHECK(args.q_gain.empty() || args.q_gain.is(DType::kF32, {shape.head_dim}));
  CHECK(args.k_gain.empty() || args.k_gain.is(DType::kF32, {shape.head_dim}));
  CHECK(args.inv_frequency.is(DType::kF32, {shape.head_dim / 2}));
  CHECK(args.q.is(activation_type(), {batch.num_tokens, args.q_proj.rows}));
  CHECK(args.kv_work.is(activation_type(), {batch.num_tokens, 2 * args.k_proj.rows}));
  do_qkv(args, batch);
}

void Backend::attention(const AttentionArgs& args, const RaggedBatch& batch) {
  const AttentionShape& shape = args.shape;
  check_cache(args.cache, shape);
  const int64_t width = int64_t{shape.heads} * shape.head_dim;
  CHECK(args.q.is(activation_type(), {batch.num_tokens, width}));
  CHECK(args.out.is(activation_type(), {batch.num_tokens, width}));
  do_attention(args, batch);
}

void Backend::route(const RouteArgs& args) {
  const int64_t features = check_input(args.input, activation_type());
  check_matrix(args.router, args.router.rows, features);
  const int64_t top_k = check_routing(args.routing, args.input.rows().dim(0), args.router.rows);
  CHECK(top_k == args.spec.top_k);
  CHECK(args.bias.empty() || args.bias.is(DType::kF32, {args.router.rows}));
  do_route(args);
}

void Backend::expert_up(const ExpertUpArgs& args) {
  CHECK(args.x.rank == 2 && args.x.dtype == activation_type());
  check_experts(args.gate, args.gate.rows, args.x.dim(1));
  check_experts(args.up, args.gate.rows, args.x.dim(1));
  CHECK(args.gate.experts == args.up.experts && args.gate.format == args.up.format);
  const int64_t top_k = check_routing(args.routing, args.x.dim(0), args.gate.experts);
  CHECK(args.out.is(activation_type(), {args.x.dim(0) * top_k, args.gate.rows}));
  do_expert_up(args);
}

void Backend::expert_down(const ExpertDownArgs& args) {
  CHECK(args.out.rank == 2);
  const int64_t tokens = args.out.dim(0);
  const int64_t features = args.out.dim(1);
  const int64_t top_k = check_routing(args.routing, tokens, args.down.experts);
  check_experts(args.down, features, args.down.cols);
  CHECK(args.hidden.is(activation_type(), {tokens * top_k, args.down.cols}));
  CHECK(args.expert_work.is(activation_type(), {tokens * top_k, features}));
  CHECK(args.residual.is(activation_type(), {tokens, features}));
  CHECK(args.out.dtype == activation_type());
  do_expert_down(args);
}

void Backend::sample(const SampleArgs& args) {
  CHECK(args.logits.rank == 2 && args.logits.dtype == DType::kF32 && args.logits.dim(1) > 0);
  const int64_t rows = args.logits.dim(0);
  CHECK(args.rows != nullptr || rows == 0);
  CHECK(args.num_edits == 0 || args.edits != nullptr);
  CHECK(args.token.is(DType::kI32, {rows}));
  CHECK(args.logprob.is(DType::kF32, {rows}));
  CHECK(args.top_token.rank == 2);
  CHECK(args.top_token.is(DType::kI32, {rows, args.top_token.dim(1)}));
  CHECK(args.top_logprob.is(DType::kF32, {rows, args.top_token.dim(1)}));
  do_sample(args);
}

}  // namespace switchyard
