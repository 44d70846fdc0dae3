// BenchEngine: drives one shape of work after another through a whole engine, without the network,
// and keeps what each step took. Not here: arguments, bandwidth and tables (bench.cc).
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "engine/engine.h"
#include "kernels/null/null_backend.h"

namespace switchyard {

// `rows` answers at once to prompts of `context` tokens. decode_steps > 0: that many steps in which
// all of them decode are kept; 0: the steps that compute the prompts are.
struct BenchCase {
  int rows = 1;
  int context = 64;
  int decode_steps = 0;
};

struct StepSample {
  double seconds = 0;
  int tokens = 0;
  Cost cost;  // of that very step; only on a null backend
};

// One thread.
class BenchEngine {
 public:
  // Computes on `backend`. `null` is the same object if it is a null backend, else nullptr.
  static Result<std::unique_ptr<BenchEngine>> create(const ModelSource& source,
                                                     const EngineOptions& options,
                                                     Backend& backend,
                                                     NullBackend* null);

  // invalid_argument, failed_precondition: the case does not fit the engine.
  Result<std::vector<StepSample>> run(const BenchCase& bench_case);

  [[nodiscard]] const Engine& engine() const { return *engine_; }

 private:
  explicit BenchEngine(NullBackend* null) : null_(null) {}
  void on_step(const StepReport& report);

  struct Step {
    StepReport report;
    Cost cost;
  };

  NullBackend* null_;
  SteadyClock clock_;
  std::mutex mutex_;
  std::vector<Step> steps_;         // guarded by mutex_; written by the step thread
  std::unique_ptr<Engine> engine_;  // last: its step thread uses the rest
};

}  // namespace switchyard
