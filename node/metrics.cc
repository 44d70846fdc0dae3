#include "node/metrics.h"

#include <chrono>

namespace switchyard {
namespace {

// Those of vLLM where it has the metric, so that its dashboards fit; finer where small batches
// need it (design notes of the API).
constexpr double kFirstTokenSeconds[] = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                         1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
constexpr double kTokenSeconds[] = {.002, .004, .006, .008, .01, .015, .02, .025, .03, .04, .05,
                                    .075, .1,   .15,  .2,   .3,  .5,   .75, 1,    2.5, 5,   10};
constexpr double kEndToEndSeconds[] = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                       30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
constexpr double kPhaseSeconds[] = {.001, .002, .005, .01, .02, .05, .1,  .2,  .5,  1,   2,
                                    5,    10,   20,   30,  60,  120, 240, 480, 960, 1920};
constexpr double kCancelSeconds[] = {.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5};
constexpr double kStepSeconds[] = {.0005, .001, .002, .003, .005, .0075, .01, .015, .02, .03,
                                   .05,   .075, .1,   .15,  .2,   .3,    .5,  .75,  1};
constexpr double kTokenCounts[] = {1,    2,    5,    10,    20,    50,    100,    200,   500,
                                   1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000};
constexpr double kRowCounts[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

Metrics::Metrics()
    : time_to_first_token(kFirstTokenSeconds),
      inter_token_latency(kTokenSeconds),
      time_per_output_token(kTokenSeconds),
      end_to_end(kEndToEndSeconds),
      queue(kPhaseSeconds),
      prefill(kPhaseSeconds),
      decode(kPhaseSeconds),
      cancel_to_free(kCancelSeconds),
      request_prompt_tokens(kTokenCounts),
      request_generation_tokens(kTokenCounts),
      prefill_step(kStepSeconds),
      decode_step(kStepSeconds),
      mixed_step(kStepSeconds),
      step_tokens(kTokenCounts),
      step_sequences(kRowCounts) {}

void Metrics::on_step(const StepReport& report) {
  ++steps;
  last_step_unix_seconds = unix_seconds();
  preemptions += static_cast<uint64_t>(report.preempted);
  recomputed_tokens += static_cast<uint64_t>(report.recomputed_tokens);
  Histogram& kind = report.decode_tokens == 0    ? prefill_step
                    : report.prefill_tokens == 0 ? decode_step
                                                 : mixed_step;
  kind.observe(seconds(report.duration));
  step_tokens.observe(report.prefill_tokens + report.decode_tokens);
  step_sequences.observe(report.rows);
}

void Metrics::on_end(const EndReport& report) {
  const EndOfAnswer& end = report.end;
  // A prompt counts once, when it was computed to its end.
  if (end.usage.completion_tokens > 0) {
    prompt_tokens_cached += static_cast<uint64_t>(end.usage.cached_tokens);
    prompt_tokens_computed +=
        static_cast<uint64_t>(end.usage.prompt_tokens - end.usage.cached_tokens);
  }
  if (end.reason == FinishReason::kError) {
    if (end.status.code() != Code::kInternal) ++cancelled[static_cast<size_t>(report.phase)];
    if (report.cancel_to_free) cancel_to_free.observe(seconds(*report.cancel_to_free));
    return;
  }
  end_to_end.observe(seconds(end.timings.total));
  queue.observe(seconds(end.timings.queue));
  prefill.observe(seconds(end.timings.prefill));
  decode.observe(seconds(end.timings.decode));
  request_prompt_tokens.observe(end.usage.prompt_tokens);
  request_generation_tokens.observe(end.usage.completion_tokens);
  if (end.usage.completion_tokens > 1) {
    time_per_output_token.observe(seconds(end.timings.decode) / (end.usage.completion_tokens - 1));
  }
}

void Metrics::on_tokens(Duration since_last, int tokens) {
  inter_token_latency.observe(seconds(since_last) / tokens, static_cast<uint64_t>(tokens));
}

void Metrics::on_call_end(AnswerMethod method, Code code, FinishReason reason) {
  const auto row = static_cast<size_t>(method);
  if (code == Code::kOk) {
    ++finished[row][static_cast<size_t>(reason)];
  } else {
    ++failed[row][static_cast<size_t>(code)];
  }
}

void Metrics::on_rejected(const Status& status) {
  const std::string& reason = status.reason();
  const std::string_view label = status.code() == Code::kUnauthenticated    ? "unauthenticated"
                                 : status.code() == Code::kPermissionDenied ? "permission_denied"
                                 : reason == "QUEUE_FULL"                   ? "queue_full"
                                 : reason == "TOKEN_BUDGET"                 ? "token_budget"
                                 : reason == "QUEUE_AGE"                    ? "queue_age"
                                 : reason == "DRAINING"                     ? "draining"
                                 : reason == "STARTING"                     ? "starting"
                                 : reason == "DEADLINE"                     ? "deadline"
                                                                            : "invalid";
  for (size_t i = 0; i < kRejectionReasons.size(); ++i) {
    if (kRejectionReasons[i] == label) ++rejected[i];
  }
}

}  // namespace switchyard
