// A model's own chat template: Jinja as Hugging Face models use it, rendered as transformers does
// (jinja2's immutable sandbox with trim_blocks, lstrip_blocks, loop controls, its own tojson,
// raise_exception and strftime_now). Not covered: include, import, extends, call blocks, recursive
// loops; and `safe` marks nothing, for nothing is escaped. chat_template_files.h finds the
// template. The source of the semantics: https://jinja.palletsprojects.com/templates and
// https://huggingface.co/docs/transformers/chat_templating.
#pragma once

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "engine/text/template_limits.h"

namespace switchyard {

struct ChatTemplateInput {
  nlohmann::ordered_json messages;  // an array of {role, content, ...}
  nlohmann::ordered_json tools;     // null when there are none
  // An object of further variables, such as enable_thinking. They win over those below.
  nlohmann::ordered_json kwargs;
  std::string bos_token;
  std::string eos_token;
  bool add_generation_prompt = true;
  std::chrono::system_clock::time_point now;  // what strftime_now tells, in UTC
};

// Immutable; any number of threads may render at once.
class ChatTemplate {
 public:
  // kInvalidArgument with the line when the source is not of the supported subset,
  // kResourceExhausted when it reaches a limit.
  static Result<ChatTemplate> parse(std::string_view jinja_source, TemplateLimits limits = {});

  // kInvalidArgument of the field "messages" when the template refuses or does not suit them,
  // kResourceExhausted naming the limit when it reaches one.
  [[nodiscard]] Result<std::string> render(const ChatTemplateInput& input) const;

 private:
  struct Parsed;

  explicit ChatTemplate(std::shared_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}

  std::shared_ptr<const Parsed> parsed_;
};

}  // namespace switchyard
