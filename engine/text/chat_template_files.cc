// Finds the chat template of a model folder. See the header.
#include "engine/text/chat_template_files.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace switchyard {

namespace {

using Json = nlohmann::json;

// Nothing when there is no such file.
Result<std::optional<std::string>> read_optional(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::optional<std::string>();
  std::ifstream in(path, std::ios::binary);
  std::ostringstream content;
  content << in.rdbuf();
  // An empty file sets failbit on `content`, not on `in`.
  if (!in) return Status(Code::kInvalidArgument, path.string(), ": can't be read");
  return std::optional<std::string>(std::move(content).str());
}

Result<std::string> token_of(const Json& config, const char* name) {
  const auto found = config.find(name);
  if (found == config.end() || found->is_null()) return std::string();
  const Json* token = &*found;
  if (token->is_object() && token->contains("content")) token = &token->at("content");
  if (!token->is_string()) {
    return Status(Code::kInvalidArgument, name, " must be a string or an object with content");
  }
  return token->get<std::string>();
}

Result<std::optional<std::string>> template_of(const Json& config) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return std::optional<std::string>();
  if (found->is_string()) return std::optional<std::string>(found->get<std::string>());
  if (!found->is_array()) {
    return Status(Code::kInvalidArgument, "chat_template must be a string or a list");
  }
  for (const Json& entry : *found) {
    if (!entry.is_object() || entry.value("name", Json()) != "default") continue;
    const Json source = entry.value("template", Json());
    if (source.is_string()) return std::optional<std::string>(source.get<std::string>());
  }
  return Status(Code::kInvalidArgument, "chat_template has no template named default");
}

}  // namespace

Result<std::optional<ChatTemplateFiles>> load_chat_template(
    const std::filesystem::path& model_folder) {
  const std::filesystem::path config_path = model_folder / "tokenizer_config.json";
  const auto config_text = read_optional(config_path);
  if (!config_text.ok()) return config_text.status();
  const std::string config_source = config_text->value_or("{}");
  const Json config = Json::parse(config_source, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) {
    return Status(Code::kInvalidArgument, config_path.string(), ": not a JSON object");
  }

  const auto bos_token = token_of(config, "bos_token");
  if (!bos_token.ok()) return bos_token.status().within(config_path.string());
  const auto eos_token = token_of(config, "eos_token");
  if (!eos_token.ok()) return eos_token.status().within(config_path.string());
  auto source = template_of(config);
  if (!source.ok()) return source.status().within(config_path.string());
  if (!source->has_value()) source = read_optional(model_folder / "chat_template.jinja");
  if (!source.ok()) return source.status();
  if (!source->has_value()) return std::optional<ChatTemplateFiles>();
  return std::optional<ChatTemplateFiles>(ChatTemplateFiles{**source, *bos_token, *eos_token});
}

}  // namespace switchyard
