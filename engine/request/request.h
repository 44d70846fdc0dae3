// Request: one immutable question in tokens, complete and checked, and where its answer goes.
// Not here: progress (sequence.h), text of prompts and templates (text/), protobuf (node/convert).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/result.h"

namespace switchyard {

// The engine's own name of a request; a caller's label never decides anything.
enum class RequestId : uint64_t {};

struct SamplingParameters {
  float temperature = 1;         // [0, 100]; 0 is greedy
  int top_k = 0;                 // >= 0; 0: all
  float top_p = 1;               // (0, 1]
  float min_p = 0;               // [0, 1)
  float repetition_penalty = 1;  // (0, 100]; over prompt and output
  float presence_penalty = 0;    // [-2, 2]; over the output
  float frequency_penalty = 0;   // [-2, 2]; over the output
  uint64_t seed = 0;             // always set: the edge draws one when the caller gave none
  std::vector<std::pair<int32_t, float>> logit_bias;  // token, added to its logit; [-100, 100]
  bool logprobs = false;  // report the log-probability of each output token
  int top_logprobs = 0;   // [0, kMaxTopLogprobs]; needs logprobs
};

inline constexpr int kMaxTopLogprobs = 20;
inline constexpr size_t kMaxStopStrings = 16;
inline constexpr size_t kMaxStopStringBytes = 1024;
inline constexpr size_t kMaxLogitBias = 1024;
inline constexpr size_t kMaxStopTokens = 256;

struct StopCondition {
  int max_new_tokens = 0;  // > 0
  int min_new_tokens = 0;  // <= max; until then no stop token can be drawn
  std::vector<std::string> stop_strings;
  std::vector<int32_t> stop_tokens;  // beside the model's end-of-sequence tokens
  bool ignore_eos = false;           // the model's end-of-sequence tokens do not end it
  bool include_stop = false;         // the text keeps the stop string that ended it
};

enum class FinishReason {
  kEos,
  kStopToken,
  kStopString,
  kMaxTokens,
  kContextLimit,
  kError,  // see EndOfAnswer::status: cancelled, deadline, aborted, internal
};

struct Usage {
  int prompt_tokens = 0;
  int cached_tokens = 0;  // of the prompt, not computed again
  int completion_tokens = 0;
  int preemptions = 0;
};

struct Timings {
  Duration queue{};        // arrival to first scheduled
  Duration prefill{};      // first scheduled to first token
  Duration first_token{};  // arrival to first token
  Duration decode{};       // first token to last
  Duration total{};        // arrival to end
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
  std::vector<std::pair<int32_t, float>> top;  // by falling probability
};

// What one step added to one answer.
struct AnswerDelta {
  std::vector<int32_t> tokens;
  std::string text;  // whole UTF-8 characters; may lag the tokens (held back for stop strings)
  std::vector<TokenLogprob> logprobs;  // one per token, if asked for
};

struct EndOfAnswer {
  FinishReason reason = FinishReason::kError;
  Status status;             // not ok exactly when reason is kError
  std::string matched_stop;  // the stop string that ended it
  int32_t matched_token = -1;
  Usage usage;
  Timings timings;
};

// Gets the answer on the step thread: any number of deltas, then exactly one end, then nothing.
// Must return at once; must not call back into the engine, except Engine::cancel.
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  virtual void on_delta(AnswerDelta delta) = 0;
  virtual void on_end(EndOfAnswer end) = 0;
};

// What the model and the node allow; checked by Request::make.
struct RequestLimits {
  int vocab_size = 0;
  int context_tokens = 0;           // prompt and answer together
  int64_t kv_tokens = 0;            // what one request can have of the cache
  std::vector<int32_t> eos_tokens;  // the model's
};

struct RequestFields {
  RequestId id{};
  std::string label;   // the caller's name for it; logged, listed, never a key
  std::string tenant;  // who the caller is; the same
  std::vector<int32_t> prompt;
  SamplingParameters sampling;
  StopCondition stop;
  int priority = 0;  // higher runs first; [-100, 100]
  TimePoint arrival{};
  TimePoint deadline = kNever;
  std::shared_ptr<TokenSink> sink;
};

class Request {
 public:
  // invalid_argument names the field and the limit; failed_precondition: it can never fit the
  // cache. max_new_tokens is cut to what the context leaves.
  static Result<Request> make(RequestFields fields, const RequestLimits& limits);

  [[nodiscard]] const RequestFields& fields() const { return fields_; }
  // Every token that ends the answer: the caller's, and the model's unless ignored. Sorted.
  [[nodiscard]] const std::vector<int32_t>& end_tokens() const { return end_tokens_; }
  [[nodiscard]] int context_tokens() const { return context_tokens_; }

 private:
  Request() = default;
  RequestFields fields_;
  std::vector<int32_t> end_tokens_;
  int context_tokens_ = 0;
};

}  // namespace switchyard
