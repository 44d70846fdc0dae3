#include "engine/model/model.h"

#include <limits>
#include <utility>

namespace switchyard {
namespace {

// How many of the layers before `layer` have the same kind of mixer.
int index_of_kind(const ModelConfig& config, size_t layer) {
  int same = 0;
  for (size_t i = 0; i < layer; ++i) {
    if (config.layers[i].mixer.index() == config.layers[layer].mixer.index()) ++same;
  }
  return same;
}

}  // namespace

Result<std::unique_ptr<const Model>> Model::load(ModelConfig config, WeightStore store) {
  std::unique_ptr<Model> model(new Model(std::move(config), std::move(store)));
  if (Status status = model->take_weights(); !status.ok()) return status;
  return std::unique_ptr<const Model>(std::move(model));
}

Status Model::take_weights() {
  const int64_t vocab = config_.vocab_size;
  const int64_t hidden = config_.hidden_size;
  Result<Weight> embedding = store_.embedding(config_.embedding, vocab, hidden);
  if (!embedding) return embedding.status();
  embedding_ = *embedding;
  for (size_t i = 0; i < config_.layers.size(); ++i) {
    const LayerPlace place{.layer = static_cast<int>(i), .cache = index_of_kind(config_, i)};
    Result<DecoderLayer> layer = DecoderLayer::load(config_, place, store_);
    if (!layer) return layer.status();
    layers_.push_back(*std::move(layer));
  }
  Result<Tensor> gain = store_.gain(config_.final_gain, hidden);
  if (!gain) return gain.status();
  final_norm_ = {.gain = *gain, .epsilon = config_.norm_epsilon};
  Result<Weight> head = store_.head(config_.head, vocab, hidden);
  if (!head) return head.status();
  head_ = *head;
  return store_.finish(config_.ignorable);
}

CacheLayout Model::cache_layout(int block_tokens, DType kv_type) const {
  CacheLayout layout;
  layout.kv.block_tokens = block_tokens;
  layout.kv.type = kv_type;
  for (const LayerSpec& layer : config_.layers) {
    if (const auto* attention = std::get_if<AttentionSpec>(&layer.mixer)) {
      CHECK(layout.kv.layers == 0 || (layout.kv.kv_heads == attention->kv_heads &&
                                      layout.kv.head_dim == attention->head_dim));
      layout.kv.layers += 1;
      layout.kv.kv_heads = attention->kv_heads;
      layout.kv.head_dim = attention->head_dim;
    } else {
      const auto& conv = std::get<ShortConvSpec>(layer.mixer);
      layout.states.push_back({.columns = conv.kernel - 1, .channels = config_.hidden_size});
    }
  }
  return layout;
}

int64_t Model::scratch_bytes(int max_tokens, int max_logits) const {
  const StepShape shape{
      .activation = store_.backend().activation_type(), .tokens = max_tokens, .logits = max_logits};
  Scratch scratch(nullptr, std::numeric_limits<int64_t>::max());
  (void)take_hidden(scratch, shape);
  for (const DecoderLayer& layer : layers_) layer.measure(scratch, shape);
  (void)take_logit_rows(scratch, shape);
  return scratch.peak_bytes();
}

Tensor Model::take_hidden(Scratch& scratch, const StepShape& shape) const {
  return scratch.take(shape.activation, {shape.tokens, config_.hidden_size});
}

Tensor Model::take_logit_rows(Scratch& scratch, const StepShape& shape) const {
  return scratch.take(shape.activation, {shape.logits, config_.hidden_size});
}

void Model::forward(const ModelStep& step) const {
  const RaggedBatch& batch = step.batch;
  CHECK(batch.num_tokens > 0);
  CHECK(batch.num_logits == 0 ||
        step.logits.is(DType::kF32, {batch.num_logits, config_.vocab_size}));
  const Scratch::Mark mark = step.scratch.mark();

  const Tensor hidden = take_hidden(step.scratch, shape_of(step));  // [T, H]
  step.backend.embed({.out = hidden, .table = embedding_, .previous = step.previous_tokens}, batch);

  for (const DecoderLayer& layer : layers_) {
    layer.forward(step, hidden);
    if (step.on_layer) step.on_layer();
  }

  if (batch.num_logits > 0) {
    NormedInput input =
        final_norm_.of(hidden, take_logit_rows(step.scratch, shape_of(step)));  // [L, H]
    input.gather = batch.logit_token;
    step.backend.linear(
        {.out = step.logits, .input = input, .weight = head_, .residual = {}});  // [L, V]
  }
  step.scratch.rewind(mark);
}

}  // namespace switchyard
