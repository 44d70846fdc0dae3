#include "engine/model/attention.h"

#include <cmath>
#include <vector>

namespace switchyard {
namespace {

// theta^(-2i/D) for the D/2 rotated pairs.
std::vector<float> inverse_frequencies(const AttentionSpec& spec) {
  std::vector<float> table(static_cast<size_t>(spec.head_dim / 2));
  for (size_t i = 0; i < table.size(); ++i) {
    const double exponent = -2.0 * static_cast<double>(i) / spec.head_dim;
    table[i] = static_cast<float>(std::pow(spec.rope_theta, exponent));
  }
  return table;
}

}  // namespace

Result<Attention> Attention::load(const AttentionSpec& spec,
                                  const Norm& norm,
                                  const Place& place,
                                  WeightStore& store) {
  const int64_t hidden = place.hidden_size;
  const int64_t q_width = int64_t{spec.heads} * spec.head_dim;
  const int64_t kv_width = int64_t{spec.kv_heads} * spec.head_dim;
  Result<Weight> q_proj = store.matrix(spec.q_proj, q_width, hidden);
  if (!q_proj) return q_proj.status();
  Result<Weight> k_proj = store.matrix(spec.k_proj, kv_width, hidden);
  if (!k_proj) return k_proj.status();
  Result<Weight> v_proj = store.matrix(spec.v_proj, kv_width, hidden);
  if (!v_proj) return v_proj.status();
  Result<Weight> out_proj = store.matrix(spec.out_proj, hidden, q_width);
  if (!out_proj) return out_proj.status();
  Result<Tensor> q_gain = store.gain(spec.q_gain, spec.head_dim);
  if (!q_gain) return q_gain.status();
  Result<Tensor> k_gain = store.gain(spec.k_gain, spec.head_dim);
  if (!k_gain) return k_gain.status();
  Result<Tensor> inv_frequency = store.table("rotary frequencies", inverse_frequencies(spec));
  if (!inv_frequency) return inv_frequency.status();

  Attention attention(spec, norm, place);
  attention.q_proj_ = *q_proj;
  attention.k_proj_ = *k_proj;
  attention.v_proj_ = *v_proj;
  attention.out_proj_ = *out_proj;
  attention.q_gain_ = *q_gain;
  attention.k_gain_ = *k_gain;
  attention.inv_frequency_ = *inv_frequency;
  return attention;
}

Attention::Work Attention::take_work(Scratch& scratch, const StepShape& shape) const {
  const DType type = shape.activation;
  const int64_t tokens = shape.tokens;
  return {.normed = scratch.take(type, {tokens, place_.hidden_size}),
          .q = scratch.take(type, {tokens, q_proj_.rows}),
          .kv = scratch.take(type, {tokens, 2 * k_proj_.rows}),
          .mixed = scratch.take(type, {tokens, q_proj_.rows})};
}

void Attention::forward(const ModelStep& step, const Tensor& hidden) const {
  const Work work = take_work(step.scratch, shape_of(step));
  const KvCache& cache = step.caches.kv(place_.cache);
  const AttentionShape shape{.heads = heads_,
                             .kv_heads = kv_heads_,
                             .head_dim = head_dim_,
                             .block_tokens = static_cast<int>(cache.key.dim(2))};
  step.backend.qkv({.q = work.q,  // [T, heads * head_dim]
                    .input = norm_.of(hidden, work.normed),
                    .q_proj = q_proj_,
                    .k_proj = k_proj_,
                    .v_proj = v_proj_,
                    .q_gain = q_gain_,
                    .k_gain = k_gain_,
                    .head_epsilon = head_epsilon_,
                    .inv_frequency = inv_frequency_,
                    .shape = shape,
                    .cache = cache,
                    .kv_work = work.kv},
                   step.batch);
  step.backend.attention({.out = work.mixed,  // [T, heads * head_dim]
                          .q = work.q,
                          .shape = shape,
                          .cache = cache,
                          .scale = scale_},
                         step.batch);
  step.backend.linear({.out = hidden,  // [T, H]
                       .input = {.x = work.mixed},
                       .weight = out_proj_,
                       .residual = hidden});
}

}  // namespace switchyard
