// ServedModel: the model as callers see it: its name, its sampling defaults, its chat template, and
// how a question becomes a Request. Runs nothing; knows no protobuf.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "engine/text/chat_template.h"
#include "engine/text/chat_template_files.h"
#include "node/question.h"

namespace switchyard {

// Sampling defaults of a generation_config.json; neutral where it says nothing, greedy where it
// says do_sample: false. invalid_argument names the field.
Result<SamplingParameters> parse_sampling_defaults(std::string_view generation_config);

// Immutable: any thread.
class ServedModel {
 public:
  // Reads FOLDER/generation_config.json and the chat template, where they exist. `engine` must
  // outlive it. `seed` decides what requests without a seed of their own get, each another.
  static Result<ServedModel> load(std::string name,
                                  const std::filesystem::path& folder,
                                  const Engine& engine,
                                  uint64_t seed);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const SamplingParameters& sampling_defaults() const { return defaults_; }
  [[nodiscard]] bool has_chat_template() const { return template_.has_value(); }

  // not_found, with the name as reason, unless `model` is empty or this one.
  [[nodiscard]] Status check_name(const std::string& model) const;

  // The prompt in tokens; special tokens written in a text count as such. Slow for long texts.
  // unimplemented when the model lacks the tokenizer or the template for it.
  [[nodiscard]] Result<std::vector<int32_t>> tokenize(const Prompt& prompt) const;
  // unimplemented without a tokenizer; invalid_argument for an id that is not in the vocabulary.
  [[nodiscard]] Result<std::string> detokenize(std::span<const int32_t> tokens,
                                               DecodeOptions options) const;
  // The prompt's text as the template writes it.
  [[nodiscard]] Result<std::string> render(const ChatPrompt& chat) const;

  // What Request::make needs: `prompt` cut as the question says, and every default filled in. Not
  // filled in: times and sink.
  [[nodiscard]] Result<RequestFields> fields(RequestId id,
                                             Question question,
                                             std::vector<int32_t> prompt) const;

 private:
  ServedModel(std::string name, const Engine& engine, uint64_t seed)
      : name_(std::move(name)), engine_(&engine), seed_(seed) {}

  std::string name_;
  const Engine* engine_;
  uint64_t seed_;
  SamplingParameters defaults_;
  std::optional<ChatTemplate> template_;
  ChatTemplateFiles template_files_;
};

}  // namespace switchyard
