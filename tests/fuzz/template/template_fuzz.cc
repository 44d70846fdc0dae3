// Any bytes as a chat template, rendered with a fixed conversation under tight limits.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/text/chat_template.h"

namespace {

switchyard::ChatTemplateInput conversation() {
  switchyard::ChatTemplateInput input;
  input.messages = nlohmann::ordered_json::parse(R"([
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "h\u00e9 <b> \ud83c\udf89"},
    {"role": "assistant", "content": null, "tool_calls": [
      {"type": "function", "function": {"name": "f", "arguments": {"x": [1, 2.5, true, null]}}}]},
    {"role": "tool", "content": "ok"}])");
  input.tools = nlohmann::ordered_json::parse(
      R"([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])");
  input.kwargs = {{"enable_thinking", false}};
  input.bos_token = "<s>";
  input.eos_token = "</s>";
  return input;
}

constexpr switchyard::TemplateLimits kTight = {
    .source_bytes = 1 << 16,
    .output_bytes = 1 << 16,
    .live_bytes = 1 << 20,
    .steps = 20'000,
    .depth = 64,
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const switchyard::ChatTemplateInput kInput = conversation();
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto parsed = switchyard::ChatTemplate::parse(source, kTight);
  if (parsed.ok()) (void)parsed->render(kInput).ok();
  return 0;
}
