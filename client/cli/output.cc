#include "client/cli/output.h"

#include <google/protobuf/util/json_util.h>

#include <cstdio>

namespace switchyard {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

double milliseconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) * 1e3 + duration.nanos() / 1e6;
}

// FINISH_REASON_MAX_TOKENS -> "max tokens"
std::string words(v1::FinishReason reason) {
  std::string name = v1::FinishReason_Name(reason);
  constexpr std::string_view kPrefix = "FINISH_REASON_";
  if (!name.starts_with(kPrefix)) return "a reason that this client does not know";
  name.erase(0, kPrefix.size());
  for (char& c : name) c = c == '_' ? ' ' : static_cast<char>(c - 'A' + 'a');
  return name;
}

}  // namespace

std::string without_controls(std::string_view text) {
  std::string shown;
  shown.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F are C2 80 to C2 9F in UTF-8.
    const bool is_c1 =
        byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    const bool is_c0 = (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F;
    if (is_c0 || is_c1) {
      shown += kReplacement;
      i += is_c1 ? 1 : 0;
    } else {
      shown += text[i];
    }
  }
  return shown;
}

std::string summary(const Answer& answer) {
  const v1::Usage& usage = answer.usage;
  const double decode_seconds = milliseconds(usage.timings().decode()) / 1e3;
  std::string speed;
  if (usage.completion_tokens() > 1 && decode_seconds > 0) {
    char rate[48];
    std::snprintf(rate, sizeof rate, "; %.1f tokens/s",
                  (usage.completion_tokens() - 1) / decode_seconds);
    speed = rate;
  }
  char counts[128];
  std::snprintf(counts, sizeof counts, "[%d prompt + %d answer tokens; first token after %.0f ms",
                usage.prompt_tokens(), usage.completion_tokens(),
                milliseconds(usage.timings().first_token()));
  return counts + speed + "; ended by " + words(answer.finished.reason()) + "]";
}

std::string to_json(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  // Only a message that breaks its own schema cannot be written.
  return status.ok() ? json : "{\"error\": \"the node's answer cannot be written as JSON\"}\n";
}

}  // namespace switchyard
