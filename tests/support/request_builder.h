// Requests and sinks for tests, in one line each.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/request/request.h"

namespace switchyard {

// Keeps what an answer was given; remembers whether it came in a legal order.
class RecordingSink final : public TokenSink {
 public:
  void on_delta(AnswerDelta delta) override {
    CHECK(ends.empty());
    tokens.insert(tokens.end(), delta.tokens.begin(), delta.tokens.end());
    logprobs.insert(logprobs.end(), delta.logprobs.begin(), delta.logprobs.end());
    text += delta.text;
  }
  void on_end(EndOfAnswer end) override { ends.push_back(std::move(end)); }

  std::vector<int32_t> tokens;
  std::vector<TokenLogprob> logprobs;
  std::string text;
  std::vector<EndOfAnswer> ends;
};

inline RequestLimits small_limits() {
  return {.vocab_size = 100, .context_tokens = 64, .kv_tokens = 1000, .eos_tokens = {2}};
}

// A question that Request::make accepts under small_limits().
inline RequestFields question(std::vector<int32_t> prompt = {5, 6, 7}) {
  RequestFields fields;
  fields.id = RequestId{1};
  fields.prompt = std::move(prompt);
  fields.stop.max_new_tokens = 10;
  fields.sink = std::make_shared<RecordingSink>();
  return fields;
}

inline Request request_with(const std::function<void(RequestFields&)>& change) {
  RequestFields fields = question();
  change(fields);
  return Request::make(std::move(fields), small_limits()).value();
}

}  // namespace switchyard
