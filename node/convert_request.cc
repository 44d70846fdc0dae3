#include "node/convert_request.h"

#include <cmath>
#include <utility>

#include "switchyard/v1/chat.pb.h"
#include "switchyard/v1/common.pb.h"
#include "switchyard/v1/generation.pb.h"

namespace switchyard {
namespace {

using Json = nlohmann::ordered_json;

Result<Json> to_json(const google::protobuf::Struct& object);

// Protobuf's parser has bounded the depth (100 messages).
Result<Json> to_json(const google::protobuf::Value& value) {
  using google::protobuf::Value;
  switch (value.kind_case()) {
    case Value::kBoolValue:
      return Json(value.bool_value());
    case Value::kStringValue:
      return Json(value.string_value());
    case Value::kStructValue:
      return to_json(value.struct_value());
    case Value::kListValue: {
      Json list = Json::array();
      for (const Value& element : value.list_value().values()) {
        Result<Json> converted = to_json(element);
        if (!converted.ok()) return converted.status();
        list.push_back(std::move(*converted));
      }
      return list;
    }
    case Value::kNumberValue: {
      const double number = value.number_value();
      if (!std::isfinite(number)) {
        return Status::invalid("chat.template_arguments", "a number is not finite");
      }
      // A Struct has no integers; templates print 3, not 3.0, for what the caller wrote as 3.
      constexpr double kExact = 1LL << 53;
      if (number == std::trunc(number) && std::abs(number) <= kExact) {
        return Json(static_cast<int64_t>(number));
      }
      return Json(number);
    }
    case Value::kNullValue:
    case Value::KIND_NOT_SET:
      return Json(nullptr);
  }
  return Json(nullptr);
}

Result<Json> to_json(const google::protobuf::Struct& object) {
  Json result = Json::object();
  for (const auto& [key, value] : object.fields()) {
    Result<Json> converted = to_json(value);
    if (!converted.ok()) return converted.status();
    result[key] = std::move(*converted);
  }
  return result;
}

SamplingParameters read_sampling(const v1::SamplingParameters& in,
                                 const SamplingParameters& defaults) {
  SamplingParameters out = defaults;
  if (in.has_temperature()) out.temperature = in.temperature();
  if (in.has_top_k()) out.top_k = in.top_k();
  if (in.has_top_p()) out.top_p = in.top_p();
  if (in.has_min_p()) out.min_p = in.min_p();
  if (in.has_repetition_penalty()) out.repetition_penalty = in.repetition_penalty();
  if (in.has_presence_penalty()) out.presence_penalty = in.presence_penalty();
  if (in.has_frequency_penalty()) out.frequency_penalty = in.frequency_penalty();
  out.logit_bias.assign(in.logit_bias().begin(), in.logit_bias().end());
  return out;
}

StopCondition read_stop(const v1::StopCondition& in) {
  StopCondition out;
  out.min_new_tokens = in.min_new_tokens();
  out.stop_strings.assign(in.stop_strings().begin(), in.stop_strings().end());
  out.stop_tokens.assign(in.stop_token_ids().begin(), in.stop_token_ids().end());
  out.ignore_eos = in.ignore_eos();
  out.include_stop = in.include_stop();
  return out;
}

// What both requests have, spelt alike.
template <typename Request>
Result<Question> read_common(const Request& request, const SamplingParameters& defaults) {
  if (request.request_id().size() > kMaxLabelBytes) {
    return Status::invalid("request_id", "has ", request.request_id().size(), " bytes, limit ",
                           kMaxLabelBytes);
  }
  Question question;
  question.label = request.request_id();
  question.model = request.model();
  question.sampling = read_sampling(request.sampling(), defaults);
  if (request.sampling().has_seed()) question.seed = request.sampling().seed();
  if (request.has_logprobs()) {
    question.sampling.logprobs = true;
    question.sampling.top_logprobs = request.logprobs().top();
    if (question.sampling.top_logprobs < 0 || question.sampling.top_logprobs > kMaxTopLogprobs) {
      return Status::invalid("logprobs.top", request.logprobs().top(), " is not in [0, ",
                             kMaxTopLogprobs, "]");
    }
  }
  question.stop = read_stop(request.stop());
  if (request.stop().has_max_new_tokens()) {
    question.max_new_tokens = request.stop().max_new_tokens();
  }
  question.priority = request.priority();
  return question;
}

Result<Prompt> read_prompt(const v1::GenerateRequest& request) {
  using v1::GenerateRequest;
  if (request.has_add_special_tokens() && request.input_case() != GenerateRequest::kText) {
    return Status::invalid("add_special_tokens", "is only for text");
  }
  switch (request.input_case()) {
    case GenerateRequest::kText:
      return Prompt(TextPrompt{
          .text = request.text(),
          .add_special_tokens = !request.has_add_special_tokens() || request.add_special_tokens()});
    case GenerateRequest::kTokenIds:
      return Prompt(
          std::vector<int32_t>(request.token_ids().ids().begin(), request.token_ids().ids().end()));
    case GenerateRequest::kChat: {
      Result<ChatPrompt> chat = read_chat(request.chat());
      if (!chat.ok()) return chat.status();
      return Prompt(std::move(*chat));
    }
    case GenerateRequest::INPUT_NOT_SET:
      break;
  }
  return Status::invalid("input", "one of text, token_ids and chat must be set");
}

}  // namespace

Result<ChatPrompt> read_chat(const v1::ChatInput& chat) {
  if (chat.messages().empty()) return Status::invalid("chat.messages", "is empty");
  ChatPrompt prompt;
  for (const v1::ChatMessage& message : chat.messages()) {
    if (message.role().empty()) {
      return Status::invalid("chat.messages.role", "message ", prompt.messages.size(),
                             " has no role");
    }
    prompt.messages.push_back({.role = message.role(), .content = message.content()});
  }
  Result<Json> arguments = to_json(chat.template_arguments());
  if (!arguments.ok()) return arguments.status();
  prompt.arguments = std::move(*arguments);
  prompt.add_generation_prompt = !chat.has_add_generation_prompt() || chat.add_generation_prompt();
  return prompt;
}

Result<Question> read_question(const v1::GenerateRequest& request,
                               const SamplingParameters& defaults) {
  Result<Question> question = read_common(request, defaults);
  if (!question.ok()) return question;
  Result<Prompt> prompt = read_prompt(request);
  if (!prompt.ok()) return prompt.status();
  question->prompt = std::move(*prompt);
  if (request.has_truncate_prompt_tokens()) {
    if (request.truncate_prompt_tokens() <= 0) {
      return Status::invalid("truncate_prompt_tokens", request.truncate_prompt_tokens(),
                             " is not above 0");
    }
    question->truncate_prompt_tokens = request.truncate_prompt_tokens();
  }
  return question;
}

Result<Question> read_question(const v1::CompleteRequest& request,
                               const SamplingParameters& defaults) {
  Result<Question> question = read_common(request, defaults);
  if (!question.ok()) return question;
  Result<ChatPrompt> chat = read_chat(request.chat());
  if (!chat.ok()) return chat.status();
  question->prompt = std::move(*chat);
  return question;
}

void write_sampling(const SamplingParameters& sampling, v1::SamplingParameters& out) {
  out.set_temperature(sampling.temperature);
  out.set_top_k(sampling.top_k);
  out.set_top_p(sampling.top_p);
  out.set_min_p(sampling.min_p);
  out.set_repetition_penalty(sampling.repetition_penalty);
  out.set_presence_penalty(sampling.presence_penalty);
  out.set_frequency_penalty(sampling.frequency_penalty);
}

}  // namespace switchyard
