// Parsing and rendering a chat template under limits. See the header.
#include "engine/text/chat_template.h"

#include "engine/text/template_eval.h"
#include "engine/text/template_parser.h"
#include "engine/text/unicode.h"

namespace switchyard {

struct ChatTemplate::Parsed {
  TemplateBody body;
  TemplateLimits limits;
};

namespace {

// A message may quote a piece of the template or of the input that was cut inside of a character.
std::string repaired(std::string_view text) {
  Utf8Repairer repairer;
  std::string out;
  repairer.push(text, out);
  repairer.finish(out);
  return out;
}

Status parse_status(const TemplateError& error) {
  const bool limit = error.kind() == TemplateError::Kind::kLimit;
  return {limit ? Code::kResourceExhausted : Code::kInvalidArgument,
          "chat template: ", repaired(error.what())};
}

Status render_status(const TemplateError& error, int line) {
  const std::string message = repaired(error.what());
  switch (error.kind()) {
    case TemplateError::Kind::kRaised:
      return Status::invalid("messages", message);
    case TemplateError::Kind::kLimit:
      return {Code::kResourceExhausted, "chat template, line ", line, ": ", message};
    default:
      return Status::invalid("messages", "chat template, line ", line, ": ", message);
  }
}

TemplateScopePointer globals_of(TemplateRuntime& runtime, const ChatTemplateInput& input) {
  auto globals = std::make_shared<TemplateScope>(nullptr);
  globals->set("messages", TemplateValue::from_json(runtime, input.messages));
  globals->set("tools", TemplateValue::from_json(runtime, input.tools));
  globals->set("documents", TemplateValue::none());
  globals->set("bos_token", TemplateValue::from_json(runtime, input.bos_token));
  globals->set("eos_token", TemplateValue::from_json(runtime, input.eos_token));
  globals->set("add_generation_prompt", TemplateValue::boolean(input.add_generation_prompt));
  for (const auto& [name, value] : input.kwargs.items()) {
    globals->set(name, TemplateValue::from_json(runtime, value));
  }
  // What the template sets is not a variable of the input: its own scope, inside.
  return std::make_shared<TemplateScope>(std::move(globals));
}

}  // namespace

Result<ChatTemplate> ChatTemplate::parse(std::string_view jinja_source, TemplateLimits limits) {
  if (jinja_source.size() > limits.source_bytes) {
    return Status(Code::kResourceExhausted, "chat template: the source has ", jinja_source.size(),
                  " bytes, the limit is ", limits.source_bytes, " (source_bytes)");
  }
  if (const auto at = find_invalid_utf8(jinja_source)) {
    return Status(Code::kInvalidArgument, "chat template: byte ", *at, " is not UTF-8");
  }
  try {
    TemplateBody body = parse_template(jinja_source, limits);
    return ChatTemplate(std::make_shared<const Parsed>(Parsed{std::move(body), limits}));
  } catch (const TemplateError& error) {
    return parse_status(error);
  }
}

Result<std::string> ChatTemplate::render(const ChatTemplateInput& input) const {
  if (!input.kwargs.is_null() && !input.kwargs.is_object()) {
    return Status::invalid("kwargs", "must be an object, not ", input.kwargs.type_name());
  }
  TemplateRuntime runtime(parsed_->limits, input.now);
  TemplateEvaluator evaluator(runtime);
  try {
    return evaluator.render(parsed_->body, globals_of(runtime, input));
  } catch (const TemplateError& error) {
    return render_status(error, evaluator.line());
  }
}

}  // namespace switchyard
