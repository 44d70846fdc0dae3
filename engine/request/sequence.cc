// Sequence: how far one request has come. Decides when its own answer ends; not when it runs.
#include "engine/request/sequence.h"

#include <algorithm>
#include <utility>

#include "kernels/base/check.h"

namespace switchyard {

Sequence::Sequence(Request request, TextStream text, MemoryLease lease)
    : request_(std::move(request)),
      text_(std::move(text)),
      lease_(std::move(lease)),
      stop_rule_(request_),
      edits_(request_),
      tokens_(request_.fields().prompt),
      prompt_tokens_(static_cast<int>(tokens_.size())) {}

SequencePhase Sequence::phase() const {
  if (!running_) return SequencePhase::kQueued;
  return output_tokens() == 0 ? SequencePhase::kPrefill : SequencePhase::kDecode;
}

int Sequence::output_tokens() const { return static_cast<int>(tokens_.size()) - prompt_tokens_; }

int Sequence::expected_tokens() const { return static_cast<int>(tokens_.size()) + drawing_; }

int Sequence::in_flight_tokens() const {
  int tokens = 0;
  for (const LaunchedTokens& launched : launched_) tokens += launched.count;
  return tokens;
}

int Sequence::pending_tokens() const {
  return expected_tokens() - computed_tokens_ - in_flight_tokens();
}

int Sequence::drawn_in_row() const {
  CHECK(launched_.size() <= 1);
  return launched_.empty() ? -1 : launched_.front().logit_row;
}

bool Sequence::must_end_with_draw() const {
  return drawing_ > 0 && stop_rule_.must_end_after(output_tokens() + drawing_);
}

bool Sequence::waits_for_value() const {
  return drawing_ > 0 && edits_.follow_output() && !must_end_with_draw();
}

SampleRow Sequence::sample_row(int position) const {
  const SamplingParameters& sampling = request_.fields().sampling;
  return {
      .temperature = sampling.temperature,
      .top_k = sampling.top_k,
      .top_p = sampling.top_p,
      .min_p = sampling.min_p,
      .repetition_penalty = sampling.repetition_penalty,
      .presence_penalty = sampling.presence_penalty,
      .frequency_penalty = sampling.frequency_penalty,
      .seed_low = static_cast<uint32_t>(sampling.seed),
      .seed_high = static_cast<uint32_t>(sampling.seed >> 32),
      .position = static_cast<int32_t>(position),
      .edit_begin = 0,
      .edit_end = 0,
      .top_logprobs = sampling.top_logprobs,
      .want_logprob = sampling.logprobs ? 1 : 0,
  };
}

void Sequence::admit(TimePoint now) {
  CHECK(!running_);
  running_ = true;
  if (!first_scheduled_) first_scheduled_ = now;
}

void Sequence::preempt() {
  CHECK(running_ && launched_.empty() && drawing_ == 0);
  running_ = false;
  computed_tokens_ = 0;
  ++preemptions_;
  lease_.release();
}

void Sequence::launch(const LaunchedTokens& tokens) {
  CHECK(running_ && launched_.size() < kMostStepsInFlight);
  CHECK(!waits_for_draw());
  CHECK(tokens.count > 0 && tokens.count <= pending_tokens());
  const bool draws = tokens.logit_row >= 0;
  CHECK(!draws || tokens.count == pending_tokens());
  launched_.push_back(tokens);
  if (!draws) return;
  edits_.prepare(output_tokens() + drawing_);
  ++drawing_;
}

void Sequence::collect() {
  CHECK(!launched_.empty());
  computed_tokens_ += launched_.front().count;
  launched_.erase(launched_.begin());
  furthest_computed_tokens_ = std::max(furthest_computed_tokens_, computed_tokens_);
}

LearnedToken Sequence::learn(const SampledToken& sampled, TimePoint now) {
  CHECK(sampled.token >= 0);
  const auto draws_in_flight =
      std::count_if(launched_.begin(), launched_.end(),
                    [](const LaunchedTokens& launched) { return launched.logit_row >= 0; });
  CHECK(running_ && drawing_ > draws_in_flight);
  --drawing_;
  tokens_.push_back(sampled.token);
  edits_.learn(sampled.token);
  if (!first_token_) first_token_ = now;
  last_token_ = now;

  const bool has_text = static_cast<bool>(text_.push);
  const bool completes_text = has_text && !stop_rule_.is_end_token(sampled.token);
  StopVerdict verdict =
      stop_rule_.push(sampled.token, completes_text ? text_.push(sampled.token) : std::string());

  LearnedToken learned;
  learned.delta = delta_of(sampled);
  learned.delta.text = std::move(verdict.text);
  if (!verdict.ended) return learned;
  if (verdict.reason != FinishReason::kStopString) {
    learned.delta.text += stop_rule_.flush();
    if (has_text) learned.delta.text += text_.finish();
  }
  learned.end = ended(verdict.reason, now);
  learned.end->matched_stop = std::move(verdict.matched_stop);
  learned.end->matched_token = verdict.matched_token;
  return learned;
}

void Sequence::ask_to_end(const Status& why, TimePoint asked_at) {
  CHECK(!why.ok());
  if (asked_at_) return;
  asked_at_ = asked_at;
  asked_to_end_ = why;
}

std::optional<Status> Sequence::due_end(TimePoint now) const {
  if (asked_at_) return asked_to_end_;
  if (now < request_.fields().deadline) return std::nullopt;
  return Status(Code::kDeadlineExceeded, "the deadline passed after ", output_tokens(),
                " tokens of the answer");
}

EndOfAnswer Sequence::failed(const Status& why, TimePoint now) const {
  CHECK(!why.ok());
  EndOfAnswer end = ended(FinishReason::kError, now);
  end.status = why;
  return end;
}

EndOfAnswer Sequence::ended(FinishReason reason, TimePoint now) const {
  const TimePoint arrival = request_.fields().arrival;
  EndOfAnswer end;
  end.reason = reason;
  end.usage = {.prompt_tokens = prompt_tokens_,
               .cached_tokens = 0,
               .completion_tokens = output_tokens(),
               .preemptions = preemptions_};
  // A time that was never reached counts as the end.
  const TimePoint scheduled = first_scheduled_.value_or(now);
  const TimePoint first_token = first_token_.value_or(now);
  end.timings = {.queue = scheduled - arrival,
                 .prefill = first_token - scheduled,
                 .first_token = first_token_ ? *first_token_ - arrival : Duration{},
                 .decode = first_token_ ? last_token_ - *first_token_ : Duration{},
                 .total = now - arrival};
  return end;
}

AnswerDelta Sequence::delta_of(const SampledToken& sampled) const {
  const SamplingParameters& sampling = request_.fields().sampling;
  AnswerDelta delta;
  delta.tokens = {sampled.token};
  if (!sampling.logprobs) return delta;

  TokenLogprob logprob{.token = sampled.token, .logprob = sampled.logprob, .top = {}};
  const auto wanted = static_cast<size_t>(sampling.top_logprobs);
  CHECK(sampled.top_token.size() >= wanted && sampled.top_logprob.size() >= wanted);
  for (size_t i = 0; i < wanted && sampled.top_token[i] >= 0; ++i) {
    logprob.top.emplace_back(sampled.top_token[i], sampled.top_logprob[i]);
  }
  delta.logprobs.push_back(std::move(logprob));
  return delta;
}

}  // namespace switchyard
