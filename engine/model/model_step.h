// ModelStep: everything one forward pass works with that is not the model. Borrowed for the call.
#pragma once

#include <cstdint>
#include <functional>

#include "engine/memory/scratch.h"
#include "engine/model/caches.h"
#include "kernels/backend.h"

namespace switchyard {

// Sees each MoE layer's choices right after the op that makes them was enqueued. Layers count from
// 0 over all layers. The values are there to read on a backend that computes at once, and only
// until the call returns: the scratch memory they lie in is reused.
using RoutingObserver = std::function<void(int layer, const Routing& routing)>;

struct ModelStep {
  Backend& backend;
  const RaggedBatch& batch;
  const Caches& caches;
  Scratch& scratch;
  const int32_t* previous_tokens = nullptr;  // [rows] of the last step; may be null if none is used
  Tensor logits;                             // [L, V] f32; not touched when L is 0
  RoutingObserver on_routing = {};
  // Called when a layer has been computed, or on a backend that does that later, enqueued.
  std::function<void()> on_layer = {};
};

// What decides the size of a step's intermediate tensors.
struct StepShape {
  DType activation = DType::kF32;
  int tokens = 0;  // T
  int logits = 0;  // L
};

inline StepShape shape_of(const ModelStep& step) {
  return {.activation = step.backend.activation_type(),
          .tokens = step.batch.num_tokens,
          .logits = step.batch.num_logits};
}

}  // namespace switchyard
