// The vocabulary entries of one sequence that the sampler must not take as the model gave them.
#include "engine/request/logit_edits.h"

#include <limits>

namespace switchyard {

LogitEdits::LogitEdits(const Request& request)
    : follow_output_(request.fields().sampling.repetition_penalty != 1 ||
                     request.fields().sampling.presence_penalty != 0 ||
                     request.fields().sampling.frequency_penalty != 0),
      min_new_tokens_(request.fields().stop.min_new_tokens) {
  const SamplingParameters& sampling = request.fields().sampling;
  if (sampling.repetition_penalty != 1) {
    for (const int32_t token : request.fields().prompt) edit(token).seen = 1;
  }
  for (const auto& [token, bias] : sampling.logit_bias) edit(token).bias = bias;
  if (min_new_tokens_ > 0) {
    for (const int32_t token : request.end_tokens()) forbid(token);
  }
}

void LogitEdits::prepare(int index) {
  if (index < min_new_tokens_) return;
  for (const Forbidden& forbidden : forbidden_) edit(forbidden.token).bias = forbidden.bias;
  forbidden_.clear();
}

void LogitEdits::learn(int32_t token) {
  if (!follow_output_) return;
  LogitEdit& known = edit(token);
  known.seen = 1;
  ++known.output_count;
}

LogitEdit& LogitEdits::edit(int32_t token) {
  const auto [place, is_new] = index_.try_emplace(token, edits_.size());
  if (is_new) edits_.push_back({.token = token, .seen = 0, .output_count = 0, .bias = 0});
  return edits_[place->second];
}

void LogitEdits::forbid(int32_t token) {
  LogitEdit& known = edit(token);
  forbidden_.push_back({.token = token, .bias = known.bias});
  known.bias = -std::numeric_limits<float>::infinity();
}

}  // namespace switchyard
