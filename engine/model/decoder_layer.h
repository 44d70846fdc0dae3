// DecoderLayer: h += mixer(norm(h)); h += feed_forward(norm(h)).
// The kinds of both are chosen by the layer's spec; their maths is in their own files.
#pragma once

#include <variant>

#include "engine/base/result.h"
#include "engine/model/attention.h"
#include "engine/model/mlp.h"
#include "engine/model/model_config.h"
#include "engine/model/model_step.h"
#include "engine/model/moe.h"
#include "engine/model/short_conv.h"
#include "engine/weights/weight_store.h"

namespace switchyard {

// Which of its kind a layer is.
struct LayerPlace {
  int layer = 0;  // among all
  int cache = 0;  // among those whose mixer is of the same kind
};

class DecoderLayer {
 public:
  static Result<DecoderLayer> load(const ModelConfig& config,
                                   const LayerPlace& place,
                                   WeightStore& store);

  // `hidden` [T, H] is changed in place.
  void forward(const ModelStep& step, const Tensor& hidden) const;
  // Takes and rewinds what forward() would.
  void measure(Scratch& scratch, const StepShape& shape) const;

 private:
  using Mixer = std::variant<Attention, ShortConv>;
  using FeedForward = std::variant<GatedMlp, Moe>;
  static Result<Mixer> load_mixer(const ModelConfig& config,
                                  const LayerPlace& place,
                                  WeightStore& store);
  DecoderLayer(Mixer mixer, FeedForward feed_forward)
      : mixer_(mixer), feed_forward_(feed_forward) {}

  Mixer mixer_;
  FeedForward feed_forward_;
};

}  // namespace switchyard
