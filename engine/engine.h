// Engine: a model and everything that answers requests with it. submit, cancel, drain.
// Owns the step thread and its loop; knows nothing of protobuf, text prompts or the network.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/result.h"
#include "engine/model/model_config.h"
#include "engine/request/request.h"
#include "engine/request/sequence.h"
#include "engine/text/tokenizer.h"
#include "engine/weights/weight_plan.h"
#include "kernels/backend.h"

namespace switchyard {

struct EngineOptions {
  // Of one step, >= max_batch_rows; longer prompts come in chunks. 0: 8192, or 512 on a backend
  // that computes in host memory; more if there are more rows.
  int max_batch_tokens = 0;
  int max_batch_rows = 0;      // sequences that run at once; 0: 256, or 64 there
  int max_queue = 1024;        // accepted and not yet running
  int max_context_tokens = 0;  // prompt and answer; 0: the model's
  // 0: what max_batch_rows full contexts need, at most 1 GiB, or what a device of its own memory
  // has left.
  int64_t kv_memory_bytes = 0;
  int kv_block_tokens = 64;
  DType kv_type = DType::kBf16;  // f32 for exact comparison
  // Decode steps are padded to these row counts and replayed as graphs. Empty: as the backend gains
  // from it, which the CPU does not.
  std::vector<int> graph_rows;
  // Whether a step is planned and launched while the one before computes. Unset: as the backend
  // gains from it, which one that computes while it is called does not.
  std::optional<bool> overlap;
};

enum class WeightOrigin {
  kCheckpoint,
  kRandom,      // of the config's shapes, from `seed`
  kShapesOnly,  // no values: for a backend that computes none
};

struct ModelSource {
  std::filesystem::path folder;
  WeightOrigin weights = WeightOrigin::kCheckpoint;
  uint64_t seed = 0;
  WeightPlan plan{};  // the formats that they are kept in
};

// What one step did; `duration` is from its plan to its end, but for what it shared with the step
// before. Called on the step thread; must return at once.
struct StepReport {
  Duration duration{};
  int rows = 0;
  int prefill_tokens = 0;
  int decode_tokens = 0;
  int preempted = 0;
  int recomputed_tokens = 0;
};

// What a request's priority amounts to where it is counted.
enum class PriorityClass { kLow, kNormal, kHigh };
inline constexpr size_t kPriorityClasses = 3;
PriorityClass priority_class(int priority);  // below 0, 0, above

// Counts, each of one moment but not all of the same. Any thread.
struct EngineLoad {
  int running = 0;
  int waiting = 0;
  std::array<int, kPriorityClasses> waiting_by_class{};
  int64_t waiting_prompt_tokens = 0;  // prompt tokens not yet computed, of waiting and running
  Duration oldest_wait{};
  int64_t kv_blocks_total = 0;
  int64_t kv_blocks_free = 0;
  int64_t state_slots_total = 0;
  int64_t state_slots_free = 0;
  int64_t steps = 0;
  TimePoint last_step{};
  // The last sign of life within a step or at its end. On a backend that computes while it is
  // called each layer is one, so that a long step is told from one that hangs.
  TimePoint last_progress{};
  bool draining = false;
};

// How the weights came into the backend's memory.
struct WeightLoad {
  int64_t read_bytes = 0;  // copied from files: 0 of random weights or those used in place
  Duration took{};
};

using Phase = SequencePhase;

struct InFlight {
  RequestId id{};
  std::string label;
  std::string tenant;
  Phase phase = Phase::kQueued;
  int priority = 0;
  int prompt_tokens = 0;
  int completion_tokens = 0;
  Duration age{};
};

// How an answer ended and in which phase; just before its sink gets the end. On the step thread.
struct EndReport {
  RequestId id{};
  Phase phase = Phase::kQueued;
  EndOfAnswer end;
  // Ended by cancel: from the call until blocks were back. Not here if a step was in flight with
  // it: then EngineObserver::on_freed tells.
  std::optional<Duration> cancel_to_free;
};

struct EngineObserver {
  std::function<void(const StepReport&)> on_step;
  std::function<void(const EndReport&)> on_end;
  std::function<void(Duration)> on_freed = {};  // see EndReport::cancel_to_free
};

class Engine {
 public:
  // Loads the model, makes the caches, starts the step thread. `backend` and `clock` must outlive
  // it.
  static Result<std::unique_ptr<Engine>> create(const ModelSource& source,
                                                const EngineOptions& options,
                                                Backend& backend,
                                                const Clock& clock,
                                                EngineObserver observer);
  ~Engine();  // aborts what is in flight, then joins

  // Any thread, all of them. -------------------------------------------------------------------

  // ok: the sink will get exactly one end. Otherwise it gets nothing: resource_exhausted
  // (QUEUE_FULL), unavailable (DRAINING, or the step thread stopped).
  Status submit(Request request);

  // The answer ends with `why` within one step, and its memory is back within one more; unknown or
  // finished ids are ignored.
  void cancel(RequestId id, Status why);

  // Nothing new is accepted from now on; what is in flight goes on.
  void drain();

  [[nodiscard]] RequestId next_id();
  // Takes no lock: asking holds up nobody.
  [[nodiscard]] EngineLoad load() const;
  [[nodiscard]] std::vector<InFlight> in_flight() const;

  [[nodiscard]] const ModelConfig& model_config() const;
  [[nodiscard]] const Tokenizer& tokenizer() const;  // CHECKs that the model folder had one
  [[nodiscard]] bool has_tokenizer() const;
  [[nodiscard]] const RequestLimits& request_limits() const;
  [[nodiscard]] const EngineOptions& options() const;  // as resolved: nothing is 0
  [[nodiscard]] int64_t weight_bytes() const;
  [[nodiscard]] WeightLoad weight_load() const;
  // What capturing the graphs and running each once took; part of create().
  [[nodiscard]] Duration warm_up_took() const;

 private:
  struct Parts;
  explicit Engine(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace switchyard
