// Sequence: how far one request has come. Its tokens, what of them is in the cache, its claim on
// memory, its text, its times. Decides when its own answer ends; not when it runs (scheduler.h).
//
// Up to two steps of it may be in flight, so it can be one token longer than it knows: a draw whose
// result has not come yet counts as a token without a value.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/base/clock.h"
#include "engine/memory/sequence_memory.h"
#include "engine/request/logit_edits.h"
#include "engine/request/request.h"
#include "engine/request/stop_rule.h"
#include "kernels/backend.h"

namespace switchyard {

// Turns one answer's tokens into whole characters, in order. Both empty: an answer without text.
struct TextStream {
  std::function<std::string(int32_t token)> push;
  std::function<std::string()> finish;  // what was still incomplete
};

// A preempted sequence is queued again; one that has its first token decodes, also while the
// tokens before it are computed again.
enum class SequencePhase { kQueued, kPrefill, kDecode };

// What the sampler drew for one logit row. Token -1: there was nothing to draw from.
struct SampledToken {
  int32_t token = -1;
  float logprob = 0;
  std::span<const int32_t> top_token = {};  // at least the request's top_logprobs, if it wants any
  std::span<const float> top_logprob = {};
};

struct LearnedToken {
  AnswerDelta delta;
  std::optional<EndOfAnswer> end;
};

inline constexpr int kMostStepsInFlight = 2;

// What one step computes of a sequence.
struct LaunchedTokens {
  int count = 0;
  int logit_row = -1;  // of that step, in which the next token is drawn; -1: none is
};

// Step thread only.
class Sequence {
 public:
  Sequence(Request request, TextStream text, MemoryLease lease);

  [[nodiscard]] const Request& request() const { return request_; }
  [[nodiscard]] SequencePhase phase() const;

  // Prompt and output, as far as their values are known; `expected` counts those being drawn too.
  // [0, computed) are in the cache, the next `in_flight` are being computed, the rest of the
  // expected ones is pending.
  [[nodiscard]] std::span<const int32_t> tokens() const { return tokens_; }
  [[nodiscard]] int expected_tokens() const;
  [[nodiscard]] int prompt_tokens() const { return prompt_tokens_; }
  [[nodiscard]] int output_tokens() const;
  [[nodiscard]] int computed_tokens() const { return computed_tokens_; }
  [[nodiscard]] int in_flight_tokens() const;
  [[nodiscard]] int pending_tokens() const;
  // Computed at some time, also if preemption has dropped them since.
  [[nodiscard]] int furthest_computed_tokens() const { return furthest_computed_tokens_; }

  [[nodiscard]] MemoryLease& lease() { return lease_; }
  [[nodiscard]] const MemoryLease& lease() const { return lease_; }

  // How to draw the token at `position`; edit_begin and edit_end are the batch's to fill in.
  [[nodiscard]] SampleRow sample_row(int position) const;
  // For the draw launched last. As many as for a draw that could be launched now.
  [[nodiscard]] std::span<const LogitEdit> edits() const { return edits_.values(); }

  // The logit row, in the one step in flight, that draws its last expected token; -1: its value is
  // known.
  [[nodiscard]] int drawn_in_row() const;
  // Nothing can be launched before the token being drawn is learned: it is certain to be the last,
  // or the next draw depends on its value.
  [[nodiscard]] bool waits_for_draw() const { return must_end_with_draw() || waits_for_value(); }
  [[nodiscard]] bool waits_for_value() const;

  // Its way: admit -> (launch -> collect -> learn)* -> finish; preempt leads back to admit. A
  // second launch may come before the collect of the first. ---------------------------------------

  [[nodiscard]] bool running() const { return running_; }
  [[nodiscard]] bool was_scheduled() const { return first_scheduled_.has_value(); }
  void admit(TimePoint now);
  // Drops what was computed and gives its memory back. Nothing may be in flight.
  void preempt();
  // Pending tokens are being computed. A draw needs all of them.
  void launch(const LaunchedTokens& tokens);
  // Those launched first are in the cache now.
  void collect();
  // The token that the collected launch drew. Its end, if any, is complete. An end token is a token
  // of the answer without text.
  LearnedToken learn(const SampledToken& sampled, TimePoint now);

  // The first reason stays.
  void ask_to_end(const Status& why, TimePoint asked_at);
  // Why it must end without a further token: it was asked to, or its deadline has passed.
  [[nodiscard]] std::optional<Status> due_end(TimePoint now) const;
  [[nodiscard]] std::optional<TimePoint> asked_to_end_at() const { return asked_at_; }
  // The end of an answer that fails with `why`.
  [[nodiscard]] EndOfAnswer failed(const Status& why, TimePoint now) const;

 private:
  [[nodiscard]] bool must_end_with_draw() const;
  EndOfAnswer ended(FinishReason reason, TimePoint now) const;
  AnswerDelta delta_of(const SampledToken& sampled) const;

  Request request_;
  TextStream text_;
  MemoryLease lease_;
  StopRule stop_rule_;
  LogitEdits edits_;

  std::vector<int32_t> tokens_;
  int prompt_tokens_;
  int computed_tokens_ = 0;
  std::vector<LaunchedTokens> launched_;  // and not collected, oldest first
  int drawing_ = 0;                       // draws launched and not learned
  int furthest_computed_tokens_ = 0;
  int preemptions_ = 0;
  bool running_ = false;

  std::optional<TimePoint> first_scheduled_;
  std::optional<TimePoint> first_token_;
  TimePoint last_token_{};

  Status asked_to_end_;  // counts when asked_at_ is set
  std::optional<TimePoint> asked_at_;
};

}  // namespace switchyard
