// BenchEngine: drives one shape of work after another through a whole engine, without the network,
// and keeps what each step took. Not here: arguments, bandwidth and tables (bench, bench_report).
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/engine.h"
#include "kernels/null/null_backend.h"
#include "node/bench_ops.h"

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

struct BenchRun {
  std::vector<StepSample> steps;
  std::optional<ReplayedStep> replayed;              // a step of the case; if asked for
  std::array<OpCost, NullBackend::kOps> last_ops{};  // of the last of `steps`; on a null backend
};

// What is done with a step of the case once all wanted steps are measured.
enum class Replay : uint8_t { kNo, kWhole, kByOp };

// One thread.
class BenchEngine {
 public:
  // Computes on `backend`. `null` is the same object if it is a null backend, `recorder` if it is a
  // recorder; else nullptr.
  static Result<std::unique_ptr<BenchEngine>> create(const ModelSource& source,
                                                     const EngineOptions& options,
                                                     Backend& backend,
                                                     NullBackend* null,
                                                     OpRecorder* recorder);

  // Why the case does not fit the engine: its context or its cache. ok: it does.
  [[nodiscard]] Status fits(const BenchCase& bench_case) const;

  // That all rows of the case take; and the bytes of a cache for so many.
  [[nodiscard]] int64_t cache_tokens(const BenchCase& bench_case) const;
  [[nodiscard]] int64_t cache_bytes(int64_t tokens) const;

  // The case must fit. `replay` needs a recorder.
  Result<BenchRun> run(const BenchCase& bench_case, Replay replay);

  [[nodiscard]] const Engine& engine() const { return *engine_; }

 private:
  // The case that is driven.
  struct Running {
    BenchCase bench_case;
    Replay replay = Replay::kNo;
    int decoded = 0;    // steps in which all rows decoded
    int prefilled = 0;  // tokens
    BenchRun run;
  };

  BenchEngine(NullBackend* null, OpRecorder* recorder) : null_(null), recorder_(recorder) {}
  void on_step(const StepReport& report);
  [[nodiscard]] int new_tokens(const BenchCase& bench_case) const;
  static bool is_wanted(Running& running, const StepReport& report);
  static bool is_last(const Running& running);

  NullBackend* null_;
  OpRecorder* recorder_;
  SteadyClock clock_;
  std::mutex mutex_;
  Running running_;                 // guarded by mutex_; written by the step thread
  std::unique_ptr<Engine> engine_;  // last: its step thread uses the rest
};

}  // namespace switchyard
