// Serving: everything that exists once the model is loaded.
// Before that a node answers health and metrics only (node.h).
#pragma once

#include <memory>
#include <string>

#include "engine/engine.h"
#include "kernels/make_backend.h"
#include "node/admission.h"
#include "node/config.h"
#include "node/metrics.h"
#include "node/served_model.h"

namespace switchyard {

struct Serving {
  // Makes the backend that `config` names and loads the model on it; slow. `clock` and `metrics`
  // must outlive it.
  static Result<std::unique_ptr<Serving>> load(const Config& config,
                                               const Clock& clock,
                                               Metrics& metrics);
  // The same on this backend.
  static Result<std::unique_ptr<Serving>> load_on(MadeBackend made,
                                                  const Config& config,
                                                  const Clock& clock,
                                                  Metrics& metrics);

  std::string backend_message;       // which one was chosen and why
  std::unique_ptr<Backend> backend;  // outlives the engine
  Admission admission;               // outlives the engine, whose ends it counts
  std::unique_ptr<Engine> engine;
  ServedModel model;
};

}  // namespace switchyard
