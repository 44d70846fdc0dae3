#include "node/served_model.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <utility>

#include "engine/weights/bounded_json.h"

namespace switchyard {
namespace {

// Of an answer whose caller set no limit; Request::make allows no more.
constexpr int64_t kMaxDefaultNewTokens = 1'000'000;
constexpr JsonLimits kJsonLimits{.bytes = 1 << 20, .values = 10'000, .depth = 16};

// Mixes all bits of its argument into all bits of the result (the finalizer of SplitMix64).
uint64_t mix(uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

struct Bounds {
  double low, high;
};

Status read_number(const nlohmann::json& object, const char* name, Bounds bounds, float& out) {
  const auto it = object.find(name);
  if (it == object.end() || it->is_null()) return {};
  const double number = it->is_number() ? it->get<double>() : std::nan("");
  if (!(number >= bounds.low && number <= bounds.high)) {
    return Status::invalid(name, "is not a number in [", bounds.low, ", ", bounds.high, "]");
  }
  out = static_cast<float>(number);
  return {};
}

nlohmann::ordered_json message_list(const ChatPrompt& chat) {
  auto messages = nlohmann::ordered_json::array();
  for (const ChatMessage& message : chat.messages) {
    messages.push_back({{"role", message.role}, {"content", message.content}});
  }
  return messages;
}

}  // namespace

Result<SamplingParameters> parse_sampling_defaults(std::string_view generation_config) {
  const Result<nlohmann::json> json = parse_bounded_json(generation_config, kJsonLimits);
  if (!json.ok()) return json.status();
  if (!json->is_object()) return Status(Code::kInvalidArgument, "is not a JSON object");
  SamplingParameters defaults;
  // Above zero where zero would mean nothing could be drawn.
  constexpr double kTiny = 1e-6;
  float top_k = 0;
  for (const Status& status :
       {read_number(*json, "temperature", {0, 100}, defaults.temperature),
        read_number(*json, "top_k", {0, 1 << 20}, top_k),
        read_number(*json, "top_p", {kTiny, 1}, defaults.top_p),
        read_number(*json, "min_p", {0, 1 - kTiny}, defaults.min_p),
        read_number(*json, "repetition_penalty", {kTiny, 100}, defaults.repetition_penalty)}) {
    if (!status.ok()) return status;
  }
  defaults.top_k = static_cast<int>(top_k);
  const auto do_sample = json->find("do_sample");
  if (do_sample != json->end() && *do_sample == false) defaults.temperature = 0;
  return defaults;
}

Result<ServedModel> ServedModel::load(std::string name,
                                      const std::filesystem::path& folder,
                                      const Engine& engine,
                                      uint64_t seed) {
  ServedModel model(std::move(name), engine, seed);
  const std::filesystem::path generation_config = folder / "generation_config.json";
  if (std::ifstream file(generation_config, std::ios::binary); file) {
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    Result<SamplingParameters> defaults = parse_sampling_defaults(text);
    if (!defaults.ok()) return defaults.status().within(generation_config.string());
    model.defaults_ = std::move(*defaults);
  }

  Result<std::optional<ChatTemplateFiles>> files = load_chat_template(folder);
  if (!files.ok()) return files.status();
  if (files->has_value() && engine.has_tokenizer()) {
    model.template_files_ = std::move(**files);
    Result<ChatTemplate> parsed = ChatTemplate::parse(model.template_files_.source);
    if (!parsed.ok()) return parsed.status().within((folder / "chat template").string());
    model.template_ = std::move(*parsed);
  }
  return model;
}

Status ServedModel::check_name(const std::string& model) const {
  if (model.empty() || model == name_) return {};
  return Status(Code::kNotFound, "no model \"", model, "\" here; this node serves \"", name_, "\"")
      .with_reason(model);
}

Result<std::string> ServedModel::render(const ChatPrompt& chat) const {
  if (!template_) {
    return Status(Code::kUnimplemented, "model \"", name_, "\" has no chat template");
  }
  return template_->render({.messages = message_list(chat),
                            .tools = nullptr,
                            .kwargs = chat.arguments,
                            .bos_token = template_files_.bos_token,
                            .eos_token = template_files_.eos_token,
                            .add_generation_prompt = chat.add_generation_prompt,
                            .now = std::chrono::system_clock::now()});
}

Result<std::vector<int32_t>> ServedModel::tokenize(const Prompt& prompt) const {
  if (const auto* tokens = std::get_if<std::vector<int32_t>>(&prompt)) return *tokens;
  if (!engine_->has_tokenizer()) {
    return Status(Code::kUnimplemented, "model \"", name_, "\" has no tokenizer; send token_ids");
  }
  const Tokenizer& tokenizer = engine_->tokenizer();
  if (const auto* text = std::get_if<TextPrompt>(&prompt)) {
    return tokenizer.encode(text->text, {.add_special_tokens = text->add_special_tokens});
  }
  const Result<std::string> text = render(std::get<ChatPrompt>(prompt));
  if (!text.ok()) return text.status();
  return tokenizer.encode(*text, {.add_special_tokens = false});
}

Result<std::string> ServedModel::detokenize(std::span<const int32_t> tokens,
                                            DecodeOptions options) const {
  if (!engine_->has_tokenizer()) {
    return Status(Code::kUnimplemented, "model \"", name_, "\" has no tokenizer");
  }
  const int vocab_size = engine_->request_limits().vocab_size;
  for (const int32_t token : tokens) {
    if (token < 0 || token >= vocab_size) {
      return Status::invalid("token_ids", "token ", token, " is not in the vocabulary of ",
                             vocab_size);
    }
  }
  return engine_->tokenizer().decode(tokens, options);
}

Result<RequestFields> ServedModel::fields(RequestId id,
                                          Question question,
                                          std::vector<int32_t> prompt) const {
  if (!question.stop.stop_strings.empty() && !engine_->has_tokenizer()) {
    return Status::invalid("stop.stop_strings", "model \"", name_, "\" has no tokenizer");
  }
  if (question.truncate_prompt_tokens) {
    const auto keep = static_cast<size_t>(*question.truncate_prompt_tokens);
    if (prompt.size() > keep) prompt.erase(prompt.begin(), prompt.end() - static_cast<long>(keep));
  }
  RequestFields fields;
  fields.id = id;
  fields.label = std::move(question.label);
  fields.sampling = std::move(question.sampling);
  fields.sampling.seed = question.seed.value_or(mix(seed_ ^ mix(static_cast<uint64_t>(id))));
  fields.stop = std::move(question.stop);
  fields.priority = question.priority;
  if (question.max_new_tokens) {
    fields.stop.max_new_tokens = *question.max_new_tokens;
  } else {
    // What the context and the cache leave; a prompt that leaves nothing is Request::make's to
    // refuse.
    const RequestLimits& limits = engine_->request_limits();
    const int64_t room = std::min<int64_t>(limits.context_tokens, limits.kv_tokens) -
                         static_cast<int64_t>(prompt.size());
    fields.stop.max_new_tokens =
        static_cast<int>(std::clamp<int64_t>(room, 1, kMaxDefaultNewTokens));
  }
  fields.prompt = std::move(prompt);
  return fields;
}

}  // namespace switchyard
