// Finds the chat template of a model folder and the tokens that it writes by name.
// Reads files; parses no Jinja.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "engine/base/result.h"

namespace switchyard {

struct ChatTemplateFiles {
  std::string source;     // Jinja
  std::string bos_token;  // empty when the model has none
  std::string eos_token;
};

// tokenizer_config.json's chat_template (a text, or a list of {name, template} of which "default"
// is taken), or else chat_template.jinja beside it. Tokens are texts or {"content": text}.
// Nothing when the folder has no template; kInvalidArgument when a file is not what it should be.
[[nodiscard]] Result<std::optional<ChatTemplateFiles>> load_chat_template(
    const std::filesystem::path& model_folder);

}  // namespace switchyard
