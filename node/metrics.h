// Metrics: what the node counts. Atomics only, so that any thread may add and a scrape never holds
// anybody up. How they look as Prometheus text is metrics_page's.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "engine/base/result.h"
#include "engine/engine.h"
#include "node/histogram.h"
#include "node/rpc.h"

namespace switchyard {

enum class AnswerMethod { kGenerate, kGenerateStream, kComplete, kCompleteStream };
inline constexpr std::array<std::string_view, 4> kAnswerMethodNames = {
    "Generate", "GenerateStream", "Complete", "CompleteStream"};
constexpr Rpc rpc_of(AnswerMethod method) { return static_cast<Rpc>(method); }

// Why admission or validation refused; the label of rejected_total.
inline constexpr std::array<std::string_view, 9> kRejectionReasons = {
    "queue_full", "token_budget", "queue_age",       "draining",         "starting",
    "deadline",   "invalid",      "unauthenticated", "permission_denied"};

// kStalled and kFailed: has work and makes no progress, the first for so long that others should
// get the next call, the second for so long that only a restart helps.
enum class NodeState { kStarting, kReady, kDraining, kStalled, kFailed };
inline constexpr std::array<std::string_view, 5> kNodeStateNames = {"starting", "ready", "draining",
                                                                    "stalled", "failed"};

inline constexpr std::array<std::string_view, 5> kFinishReasonNames = {
    "eos", "stop_token", "stop_string", "max_tokens", "context_limit"};

// Files that are read again while the node runs, and what came of it.
enum class ReloadedFile { kCertificate, kTokens };
inline constexpr std::array<std::string_view, 2> kReloadedFileNames = {"certificate", "tokens"};
enum class Reload { kDone, kFailed };
inline constexpr std::array<std::string_view, 2> kReloadNames = {"done", "failed"};

class Metrics {
 public:
  using Counter = std::atomic<uint64_t>;

  Metrics();

  // Reports of the engine, on the step thread.
  void on_step(const StepReport& report);
  void on_end(const EndReport& report);
  void on_freed(Duration after_cancel) { cancel_to_free.observe(seconds(after_cancel)); }

  // The first tokens of an answer, and each addition after them.
  void on_first_token(Duration since_arrival) {
    time_to_first_token.observe(seconds(since_arrival));
  }
  void on_tokens(Duration since_last, int tokens);

  // The end of a call that asked for an answer. `reason` counts only when `code` is ok.
  void on_call_end(AnswerMethod method, Code code, FinishReason reason);
  // A refusal before the engine; `reason` is one of Status::reason()'s tokens.
  void on_rejected(const Status& status);

  void add_backpressure(Duration duration) { backpressure_nanoseconds += duration.count(); }

  void on_reload(ReloadedFile file, Reload outcome) {
    ++reloads[static_cast<size_t>(file)][static_cast<size_t>(outcome)];
  }

  RpcTable rpcs;
  // [method][reason] of calls that ended well, [method][code] of the others.
  std::array<std::array<Counter, kFinishReasonNames.size()>, kAnswerMethodNames.size()> finished{};
  std::array<std::array<Counter, kCodeNames.size()>, kAnswerMethodNames.size()> failed{};
  std::array<Counter, kRejectionReasons.size()> rejected{};
  std::array<Counter, 3> cancelled{};  // by Phase
  std::array<std::array<Counter, kReloadNames.size()>, kReloadedFileNames.size()> reloads{};
  std::atomic<double> certificate_not_after_unix_seconds{0};  // 0: no TLS

  Counter prompt_tokens_computed{0}, prompt_tokens_cached{0}, generation_tokens{0};
  Counter preemptions{0}, recomputed_tokens{0}, steps{0};
  Counter coalesced_deltas{0};
  std::atomic<int64_t> backpressure_nanoseconds{0};
  std::atomic<double> last_step_unix_seconds{0};
  // Of the start: the model's files and memory; then capturing graphs and running each once.
  std::atomic<double> load_seconds{0}, warm_up_seconds{0};

  Histogram time_to_first_token, inter_token_latency, time_per_output_token;
  Histogram end_to_end, queue, prefill, decode, cancel_to_free;
  Histogram request_prompt_tokens, request_generation_tokens;
  Histogram prefill_step, decode_step, mixed_step;  // seconds
  Histogram step_tokens, step_sequences;
};

}  // namespace switchyard
