// Splits a template into text and tokens as Jinja does with trim_blocks and lstrip_blocks:
// whitespace control (- and +), comments and raw blocks are settled here and leave no token.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace switchyard {

struct TemplateToken {
  enum class Kind {
    kText,         // outside of tags; `text` is what to write
    kOutputBegin,  // {{
    kOutputEnd,
    kBlockBegin,  // {%
    kBlockEnd,
    kName,
    kString,   // `text` is unescaped
    kInteger,  // `text` is digits without underscores, with a prefix 0x, 0o or 0b
    kFloat,
    kOperator,
    kEnd,
  };

  Kind kind;
  std::string text;
  int line;

  [[nodiscard]] bool is(Kind wanted_kind, std::string_view wanted_text) const {
    return kind == wanted_kind && text == wanted_text;
  }
  [[nodiscard]] bool is_operator(std::string_view spelling) const {
    return is(Kind::kOperator, spelling);
  }
  [[nodiscard]] bool is_name(std::string_view name) const { return is(Kind::kName, name); }
};

// `source` is well-formed UTF-8. The last token is kEnd. Throws TemplateError with the line.
[[nodiscard]] std::vector<TemplateToken> split_template(std::string_view source);

}  // namespace switchyard
