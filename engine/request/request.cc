// Request::make: everything a caller can get wrong about one question, checked once, here.
#include "engine/request/request.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <unordered_set>

namespace switchyard {

namespace {

constexpr int kMaxNewTokens = 1'000'000;
constexpr int kMaxPriority = 100;
constexpr float kMaxLogitBiasValue = 100;

// False for NaN.
bool within(float value, float low, float high) { return value >= low && value <= high; }

bool in_vocabulary(int32_t token, const RequestLimits& limits) {
  return token >= 0 && token < limits.vocab_size;
}

Status not_in_vocabulary(std::string_view field, int32_t token, const RequestLimits& limits) {
  return Status::invalid(field, "token ", token, " is not in the vocabulary of ",
                         limits.vocab_size);
}

Status check_prompt(const RequestFields& fields, const RequestLimits& limits) {
  if (fields.prompt.empty()) return Status::invalid("input", "has no tokens");
  // Room for one token of the answer at least.
  if (fields.prompt.size() >= static_cast<size_t>(limits.context_tokens)) {
    return Status::invalid("input", "has ", fields.prompt.size(), " tokens; the context of ",
                           limits.context_tokens, " must hold it and the answer");
  }
  for (const int32_t token : fields.prompt) {
    if (!in_vocabulary(token, limits)) return not_in_vocabulary("input", token, limits);
  }
  return {};
}

Status check_logit_bias(const SamplingParameters& sampling, const RequestLimits& limits) {
  constexpr std::string_view kField = "sampling.logit_bias";
  if (sampling.logit_bias.size() > kMaxLogitBias) {
    return Status::invalid(kField, "has ", sampling.logit_bias.size(), " entries, limit ",
                           kMaxLogitBias);
  }
  std::unordered_set<int32_t> tokens;
  for (const auto& [token, bias] : sampling.logit_bias) {
    if (!in_vocabulary(token, limits)) return not_in_vocabulary(kField, token, limits);
    if (!within(bias, -kMaxLogitBiasValue, kMaxLogitBiasValue)) {
      return Status::invalid(kField, bias, " for token ", token, " is not in [-100, 100]");
    }
    if (!tokens.insert(token).second) {
      return Status::invalid(kField, "token ", token, " is given twice");
    }
  }
  return {};
}

Status check_sampling(const SamplingParameters& sampling, const RequestLimits& limits) {
  if (!within(sampling.temperature, 0, 100)) {
    return Status::invalid("sampling.temperature", sampling.temperature, " is not in [0, 100]");
  }
  if (sampling.top_k < 0) {
    return Status::invalid("sampling.top_k", sampling.top_k, " is negative");
  }
  if (!within(sampling.top_p, 0, 1) || sampling.top_p == 0) {
    return Status::invalid("sampling.top_p", sampling.top_p, " is not in (0, 1]");
  }
  if (!within(sampling.min_p, 0, 1) || sampling.min_p == 1) {
    return Status::invalid("sampling.min_p", sampling.min_p, " is not in [0, 1)");
  }
  if (!within(sampling.repetition_penalty, 0, 100) || sampling.repetition_penalty == 0) {
    return Status::invalid("sampling.repetition_penalty", sampling.repetition_penalty,
                           " is not in (0, 100]");
  }
  if (!within(sampling.presence_penalty, -2, 2)) {
    return Status::invalid("sampling.presence_penalty", sampling.presence_penalty,
                           " is not in [-2, 2]");
  }
  if (!within(sampling.frequency_penalty, -2, 2)) {
    return Status::invalid("sampling.frequency_penalty", sampling.frequency_penalty,
                           " is not in [-2, 2]");
  }
  if (sampling.top_logprobs < 0 || sampling.top_logprobs > kMaxTopLogprobs) {
    return Status::invalid("sampling.top_logprobs", sampling.top_logprobs, " is not in [0, ",
                           kMaxTopLogprobs, "]");
  }
  if (sampling.top_logprobs > 0 && !sampling.logprobs) {
    return Status::invalid("sampling.top_logprobs", "needs logprobs");
  }
  return check_logit_bias(sampling, limits);
}

// Shown text ends where a stop string begins: only whole characters leave whole characters.
bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80                    ? 1
                          : lead >= 0xC2 && lead <= 0xDF ? 2
                          : lead >= 0xE0 && lead <= 0xEF ? 3
                          : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                         : 0;
    if (length == 0 || length > text.size() - i) return false;
    for (size_t k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xC0) != 0x80) return false;
    }
    i += length;
  }
  return true;
}

Status check_stop_strings(const std::vector<std::string>& stop_strings) {
  constexpr std::string_view kField = "stop.stop_strings";
  if (stop_strings.size() > kMaxStopStrings) {
    return Status::invalid(kField, "has ", stop_strings.size(), " entries, limit ",
                           kMaxStopStrings);
  }
  for (const std::string& stop : stop_strings) {
    if (stop.empty()) return Status::invalid(kField, "an entry is empty");
    if (stop.size() > kMaxStopStringBytes) {
      return Status::invalid(kField, "an entry has ", stop.size(), " bytes, limit ",
                             kMaxStopStringBytes);
    }
    if (!is_utf8(stop)) return Status::invalid(kField, "an entry is not UTF-8");
  }
  return {};
}

Status check_stop(const StopCondition& stop, const RequestLimits& limits) {
  if (stop.max_new_tokens <= 0 || stop.max_new_tokens > kMaxNewTokens) {
    return Status::invalid("stop.max_new_tokens", stop.max_new_tokens, " is not in [1, ",
                           kMaxNewTokens, "]");
  }
  if (stop.min_new_tokens < 0 || stop.min_new_tokens > stop.max_new_tokens) {
    return Status::invalid("stop.min_new_tokens", stop.min_new_tokens, " is not in [0, ",
                           stop.max_new_tokens, "] (max_new_tokens)");
  }
  if (stop.stop_tokens.size() > kMaxStopTokens) {
    return Status::invalid("stop.stop_token_ids", "has ", stop.stop_tokens.size(),
                           " entries, limit ", kMaxStopTokens);
  }
  for (const int32_t token : stop.stop_tokens) {
    if (!in_vocabulary(token, limits))
      return not_in_vocabulary("stop.stop_token_ids", token, limits);
  }
  return check_stop_strings(stop.stop_strings);
}

Status check(const RequestFields& fields, const RequestLimits& limits) {
  if (Status status = check_prompt(fields, limits); !status.ok()) return status;
  if (Status status = check_sampling(fields.sampling, limits); !status.ok()) return status;
  if (Status status = check_stop(fields.stop, limits); !status.ok()) return status;
  if (fields.priority < -kMaxPriority || fields.priority > kMaxPriority) {
    return Status::invalid("priority", fields.priority, " is not in [", -kMaxPriority, ", ",
                           kMaxPriority, "]");
  }
  return {};
}

}  // namespace

Result<Request> Request::make(RequestFields fields, const RequestLimits& limits) {
  CHECK(fields.sink != nullptr);
  if (Status status = check(fields, limits); !status.ok()) return status;

  const auto prompt_tokens = static_cast<int>(fields.prompt.size());
  StopCondition& stop = fields.stop;
  stop.max_new_tokens = std::min(stop.max_new_tokens, limits.context_tokens - prompt_tokens);
  stop.min_new_tokens = std::min(stop.min_new_tokens, stop.max_new_tokens);
  const int64_t needed_tokens = int64_t{prompt_tokens} + stop.max_new_tokens;
  if (needed_tokens > limits.kv_tokens) {
    return Status(Code::kFailedPrecondition, "the request needs ", needed_tokens,
                  " tokens of cache (", prompt_tokens, " of input, up to ", stop.max_new_tokens,
                  " of answer), available are ", limits.kv_tokens);
  }

  Request request;
  request.end_tokens_ = stop.stop_tokens;
  if (!stop.ignore_eos) {
    request.end_tokens_.insert(request.end_tokens_.end(), limits.eos_tokens.begin(),
                               limits.eos_tokens.end());
  }
  std::sort(request.end_tokens_.begin(), request.end_tokens_.end());
  request.end_tokens_.erase(std::unique(request.end_tokens_.begin(), request.end_tokens_.end()),
                            request.end_tokens_.end());
  request.context_tokens_ = limits.context_tokens;
  request.fields_ = std::move(fields);
  return request;
}

}  // namespace switchyard
