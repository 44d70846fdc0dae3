// Values as text: Python's str() and repr(), and json.dumps as chat templates see it.
// Every byte goes through a builder, which holds it to the limits.
#pragma once

#include <optional>
#include <string>

#include "engine/text/template_value.h"

namespace switchyard {

// What {{ value }} writes. Undefined writes nothing.
void print_text(TemplateRuntime& runtime, const TemplateValue& value, TemplateTextBuilder& out);
// The value itself when it is a text already.
[[nodiscard]] TemplateValue to_text(TemplateRuntime& runtime, const TemplateValue& value);
[[nodiscard]] TemplateValue to_repr(TemplateRuntime& runtime, const TemplateValue& value);

enum class JsonAlphabet { kUnicode, kAscii };
enum class JsonKeyOrder { kAsInserted, kSorted };

// The arguments of json.dumps.
struct JsonStyle {
  std::optional<std::string> indent;  // of one level; without it everything is on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  JsonAlphabet alphabet = JsonAlphabet::kUnicode;
  JsonKeyOrder key_order = JsonKeyOrder::kAsInserted;
};

[[nodiscard]] TemplateValue to_json(TemplateRuntime& runtime,
                                    const TemplateValue& value,
                                    const JsonStyle& style);

// float.__repr__: the shortest digits that read back as the same number.
[[nodiscard]] std::string real_repr(double value);

}  // namespace switchyard
