// ModelRunner: computes planned steps, in the order of their launch. Owns the device memory of a
// step: the batch block, the caches, the scratch arena, the logits; chooses between replaying a
// graph and running the ops. A step is one upload, the forward pass and the draw, one copy back.
// Decides nothing about who runs (schedule/), knows no requests beyond the plan's rows.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/base/result.h"
#include "engine/batch/batch_builder.h"
#include "engine/model/model.h"
#include "engine/run/graph_cache.h"
#include "engine/run/sampler.h"
#include "engine/schedule/scheduler.h"
#include "engine/schedule/step_plan.h"
#include "kernels/backend.h"

namespace switchyard {

struct RunnerLimits {
  BatchLimits batch;
  int blocks = 0;       // of the KV pool, the sink included
  int state_slots = 0;  // the sink included
  DType kv_type = DType::kBf16;
  std::vector<int> graph_rows;  // see GraphCache
};

// Step thread only.
class ModelRunner {
 public:
  // `model` and `backend` must outlive it. resource_exhausted says what did not fit.
  static Result<std::unique_ptr<ModelRunner>> create(const Model& model,
                                                     Backend& backend,
                                                     const RunnerLimits& limits);

  // Captures the graph of every bucket and runs each once, on padding rows alone, so that no step
  // pays for that. Returns when the device is done. Before the first launch.
  void warm_up();

  // Enqueues a committed plan that computes something. Where its rows have a token that is still
  // being drawn (PlannedRow::drawn_in_row), the last launch draws it. At most kMostStepsInFlight
  // are launched and not collected. `on_layer` hears of each layer while the call computes or
  // enqueues it; a replayed graph has none.
  void launch(const StepPlan& plan, const std::function<void()>& on_layer = {});

  // Waits for the oldest launch, and not for those after it. Views hold until the second launch
  // from now.
  StepTokens collect();

  [[nodiscard]] size_t captured_graphs() const { return graphs_.captured(); }

 private:
  struct Memory {
    Buffer batch, kv, state, scratch, logits;
  };
  ModelRunner(const Model& model,
              Backend& backend,
              const RunnerLimits& limits,
              Memory memory,
              Sampler sampler);
  void upload(const HostBatch& host);
  void compute(const HostBatch& host, const std::function<void()>& on_layer);

  const Model& model_;
  Backend& backend_;
  Memory memory_;
  Caches caches_;
  Scratch scratch_;
  Sampler sampler_;
  BatchBuilder builder_;
  GraphCache graphs_;
};

}  // namespace switchyard
