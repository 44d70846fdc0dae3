#include "engine/model/decoder_layer.h"

#include <utility>

namespace switchyard {
namespace {

Result<Norm> load_norm(const std::string& name, const ModelConfig& config, WeightStore& store) {
  Result<Tensor> gain = store.gain(name, config.hidden_size);
  if (!gain) return gain.status();
  return Norm{.gain = *gain, .epsilon = config.norm_epsilon};
}

// The unit as one of the kinds that a layer can have in its place.
template <typename Kinds, typename Unit>
Result<Kinds> as_one_of(Result<Unit> unit) {
  if (!unit) return unit.status();
  return Kinds(*std::move(unit));
}

}  // namespace

Result<DecoderLayer> DecoderLayer::load(const ModelConfig& config,
                                        const LayerPlace& place,
                                        WeightStore& store) {
  const LayerSpec& spec = config.layers[static_cast<size_t>(place.layer)];
  Result<Mixer> mixer = load_mixer(config, place, store);
  if (!mixer) return mixer.status();
  Result<Norm> norm = load_norm(spec.feed_forward_gain, config, store);
  if (!norm) return norm.status();
  const auto* dense = std::get_if<GatedMlpSpec>(&spec.feed_forward);
  Result<FeedForward> feed_forward =
      dense != nullptr
          ? as_one_of<FeedForward>(GatedMlp::load(*dense, *norm, config.hidden_size, store))
          : as_one_of<FeedForward>(
                Moe::load(std::get<MoeSpec>(spec.feed_forward), *norm,
                          {.hidden_size = config.hidden_size, .layer = place.layer}, store));
  if (!feed_forward) return feed_forward.status();
  return DecoderLayer(*std::move(mixer), *std::move(feed_forward));
}

Result<DecoderLayer::Mixer> DecoderLayer::load_mixer(const ModelConfig& config,
                                                     const LayerPlace& place,
                                                     WeightStore& store) {
  const LayerSpec& spec = config.layers[static_cast<size_t>(place.layer)];
  Result<Norm> norm = load_norm(spec.mixer_gain, config, store);
  if (!norm) return norm.status();
  if (const auto* attention = std::get_if<AttentionSpec>(&spec.mixer)) {
    return as_one_of<Mixer>(Attention::load(
        *attention, *norm, {.hidden_size = config.hidden_size, .cache = place.cache}, store));
  }
  return as_one_of<Mixer>(ShortConv::load(std::get<ShortConvSpec>(spec.mixer), *norm,
                                          {.hidden_size = config.hidden_size, .cache = place.cache},
                                          store));
}

void DecoderLayer::forward(const ModelStep& step, const Tensor& hidden) const {
  const Scratch::Mark mark = step.scratch.mark();
  std::visit([&](const auto& mixer) { mixer.forward(step, hidden); }, mixer_);
  step.scratch.rewind(mark);
  std::visit([&](const auto& feed_forward) { feed_forward.forward(step, hidden); }, feed_forward_);
  step.scratch.rewind(mark);
}

void DecoderLayer::measure(Scratch& scratch, const StepShape& shape) const {
  const Scratch::Mark mark = scratch.mark();
  std::visit([&](const auto& mixer) { (void)mixer.take_work(scratch, shape); }, mixer_);
  scratch.rewind(mark);
  std::visit([&](const auto& feed_forward) { (void)feed_forward.take_work(scratch, shape); },
             feed_forward_);
  scratch.rewind(mark);
}

}  // namespace switchyard
