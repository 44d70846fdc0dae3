// Splits a template into text and tokens. See the header.
#include "engine/text/template_lexer.h"

#include <algorithm>
#include <array>
#include <optional>

#include "engine/text/template_limits.h"
#include "engine/text/template_unicode.h"
#include "engine/text/unicode.h"

namespace switchyard {

namespace {

using Kind = TemplateToken::Kind;
constexpr size_t kNone = std::string_view::npos;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_name_character(char c) {
  return is_letter(c) || is_digit(c) || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

// Line ends become \n, and one at the very end is dropped.
std::string normalized(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

// The value of a string literal, as Python's unicode-escape reads it.
class StringLiteral {
 public:
  StringLiteral(std::string_view body, int line) : body_(body), line_(line) {}

  std::string value() && {
    while (at_ < body_.size()) {
      if (body_[at_] != '\\') {
        out_ += body_[at_++];
      } else {
        ++at_;  // a literal never ends in a lone backslash: it would have escaped the quote
        escape(body_[at_++]);
      }
    }
    return std::move(out_);
  }

 private:
  void escape(char letter) {
    constexpr std::string_view kLetters = "\\'\"abfnrtv";
    constexpr std::string_view kValues = "\\'\"\a\b\f\n\r\t\v";
    if (letter == '\n') return;
    if (const size_t known = kLetters.find(letter); known != kNone) {
      out_ += kValues[known];
    } else if (letter == 'x') {
      append_utf8(digits(2, 16), out_);
    } else if (letter == 'u') {
      append_character(digits(4, 16));
    } else if (letter == 'U') {
      append_character(digits(8, 16));
    } else if (letter >= '0' && letter <= '7') {
      --at_;
      size_t length = 1;
      while (length < 3 && at_ + length < body_.size() && body_[at_ + length] >= '0' &&
             body_[at_ + length] <= '7') {
        ++length;
      }
      append_utf8(digits(length, 8), out_);
    } else if (letter == 'N') {
      template_syntax(line_, "character names (\\N) are not supported");
    } else {
      out_ += '\\';
      out_ += letter;
    }
  }

  char32_t digits(size_t count, uint32_t base) {
    uint32_t value = 0;
    for (size_t i = 0; i < count; ++i, ++at_) {
      const char c = at_ < body_.size() ? body_[at_] : '\0';
      uint32_t digit = 16;
      if (is_digit(c)) digit = static_cast<uint32_t>(c - '0');
      if (is_letter(c)) digit = static_cast<uint32_t>((c | 0x20) - 'a' + 10);
      if (digit >= base) template_syntax(line_, "a string has a truncated escape");
      value = value * base + digit;
    }
    return value;
  }

  void append_character(char32_t code_point) {
    if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point <= 0xDFFF)) {
      template_syntax(line_, "a string escape names no character");
    }
    append_utf8(code_point, out_);
  }

  std::string_view body_;
  int line_;
  size_t at_ = 0;
  std::string out_;
};

class Lexer {
 public:
  explicit Lexer(std::string source) : storage_(std::move(source)), source_(storage_) {}

  std::vector<TemplateToken> tokens() && {
    while (at_ < source_.size()) outside();
    add(Kind::kEnd, {});
    return std::move(tokens_);
  }

 private:
  [[nodiscard]] std::string_view rest() const { return source_.substr(at_); }
  [[nodiscard]] bool sees(std::string_view text) const { return rest().starts_with(text); }

  void add(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  // Moves on, keeping count of lines.
  void advance(size_t count) {
    for (const char c : source_.substr(at_, count)) line_ += c == '\n' ? 1 : 0;
    at_ += count;
  }
  void advance_to(size_t position) { advance(position - at_); }
  void skip_space() { advance(rest().size() - strip_left(rest()).size()); }
  void skip_newline() {
    if (sees("\n")) advance(1);
  }

  // Text up to the next tag, then the tag.
  void outside() {
    size_t tag = at_;
    for (;; ++tag) {
      tag = source_.find('{', tag);
      if (tag == kNone || tag + 1 >= source_.size()) return add_text(rest(), source_.size());
      if (const char c = source_[tag + 1]; c == '{' || c == '%' || c == '#') break;
    }
    add_text(text_before(tag, tag + 2), tag);
    const char kind = source_[tag + 1];
    if (kind == '%' && raw()) return;
    const int opened_on = line_;
    advance(2);
    skip_sign();
    if (kind == '#') return comment(opened_on);
    add(kind == '{' ? Kind::kOutputBegin : Kind::kBlockBegin, {});
    inside(kind == '{' ? Kind::kOutputEnd : Kind::kBlockEnd);
  }

  void skip_sign() {
    if (sees("-") || sees("+")) advance(1);
  }

  void add_text(std::string_view text, size_t next) {
    if (!text.empty()) add(Kind::kText, std::string(text));
    advance_to(next);
  }

  // The text from here to `tag`, whose sign would stand at `sign`, less what the tag strips.
  [[nodiscard]] std::string_view text_before(size_t tag, size_t sign) const {
    const std::string_view text = source_.substr(at_, tag - at_);
    const char mark = sign < source_.size() ? source_[sign] : '\0';
    if (mark == '-') return strip_right(text);
    if (mark == '+' || source_[tag + 1] == '{') return text;
    const size_t newline = text.rfind('\n');
    if (newline == kNone && at_ > 0 && source_[at_ - 1] != '\n') return text;
    const size_t line_start = newline == kNone ? 0 : newline + 1;
    return strip_left(text.substr(line_start)).empty() ? text.substr(0, line_start) : text;
  }

  void comment(int opened_on) {
    const size_t end = source_.find("#}", at_);
    if (end == kNone) template_syntax(opened_on, "the comment has no end");
    const char sign = end > at_ ? source_[end - 1] : '\0';
    advance_to(end + 2);
    if (sign == '-') skip_space();
    if (sign != '-' && sign != '+') skip_newline();
  }

  // The tag {% `name` %} that starts at `from`: where it ends, and the sign before its %}.
  struct BareTag {
    size_t end;
    char sign;
  };
  [[nodiscard]] std::optional<BareTag> bare_tag(size_t from, std::string_view name) const {
    std::string_view left = source_.substr(from + 2);
    if (left.starts_with('-') || left.starts_with('+')) left.remove_prefix(1);
    left = strip_left(left);
    if (!left.starts_with(name)) return {};
    left = strip_left(left.substr(name.size()));
    char sign = '\0';
    if (left.starts_with('-') || left.starts_with('+')) {
      sign = left.front();
      left.remove_prefix(1);
    }
    if (!left.starts_with("%}")) return {};
    return BareTag{source_.size() - left.size() + 2, sign};
  }

  // {% raw %} ... {% endraw %}: true when it was one.
  bool raw() {
    const auto open = bare_tag(at_, "raw");
    if (!open || open->sign == '+') return false;
    const int opened_on = line_;
    advance_to(open->end);
    if (open->sign == '-') skip_space();
    for (size_t tag = at_; (tag = source_.find("{%", tag)) != kNone; ++tag) {
      const auto close = bare_tag(tag, "endraw");
      if (!close) continue;
      add_text(text_before(tag, tag + 2), close->end);
      if (close->sign == '-') skip_space();
      if (close->sign == '\0') skip_newline();
      return true;
    }
    template_syntax(opened_on, "the raw block has no {% endraw %}");
  }

  // The expression or statement of a tag, up to its end.
  void inside(Kind end) {
    const int opened_on = line_;
    std::string open_brackets;
    while (true) {
      skip_space();
      if (at_ == source_.size()) template_syntax(opened_on, "the tag has no end");
      if (open_brackets.empty() && tag_end(end)) return;
      token(open_brackets);
    }
  }

  bool tag_end(Kind end) {
    const bool is_block = end == Kind::kBlockEnd;
    const std::string_view closing = is_block ? "%}" : "}}";
    const bool strips = sees("-") && rest().substr(1).starts_with(closing);
    const bool keeps = is_block && sees("+") && rest().substr(1).starts_with(closing);
    if (!strips && !keeps && !sees(closing)) return false;
    add(end, {});
    advance(strips || keeps ? 3 : 2);
    if (strips) skip_space();
    if (is_block && !strips && !keeps) skip_newline();
    return true;
  }

  void token(std::string& open_brackets) {
    const char c = source_[at_];
    if (is_digit(c)) return number();
    if (is_name_character(c)) {
      size_t length = 1;
      while (length < rest().size() && is_name_character(rest()[length])) ++length;
      add(Kind::kName, std::string(rest().substr(0, length)));
      return advance(length);
    }
    if (c == '\'' || c == '"') return string(c);
    operator_token(open_brackets);
  }

  // The end of digits that single underscores may separate.
  template <typename IsDigit>
  [[nodiscard]] size_t digits_end(size_t from, const IsDigit& accepts) const {
    size_t end = from;
    while (end < source_.size()) {
      const bool separated = source_[end] == '_' && end > from && end + 1 < source_.size();
      if (!accepts(source_[separated ? end + 1 : end])) break;
      end += separated ? 2 : 1;
    }
    return end;
  }

  void number() {
    const char marker =
        source_[at_] == '0' && at_ + 1 < source_.size() ? source_[at_ + 1] | 0x20 : 0;
    size_t end = at_;
    if (marker == 'x' || marker == 'o' || marker == 'b') {
      end = digits_end(at_ + 2, [marker](char c) {
        if (marker == 'x') return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
        return c >= '0' && c <= (marker == 'o' ? '7' : '1');
      });
      if (end > at_ + 2) return add_number(Kind::kInteger, end);
    }
    end = digits_end(at_, is_digit);
    const size_t whole_end = end;
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    if (after_dot) return add_number(Kind::kInteger, end);
    if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
      end = digits_end(end + 1, is_digit);
    }
    if (end < source_.size() && (source_[end] | 0x20) == 'e') {
      size_t digits = end + 1;
      if (digits < source_.size() && (source_[digits] == '+' || source_[digits] == '-')) ++digits;
      if (digits < source_.size() && is_digit(source_[digits])) end = digits_end(digits, is_digit);
    }
    add_number(end == whole_end ? Kind::kInteger : Kind::kFloat, end);
  }

  void add_number(Kind kind, size_t end) {
    std::string digits(source_.substr(at_, end - at_));
    std::erase(digits, '_');
    if (kind == Kind::kInteger && digits.size() > 1 && digits[0] == '0' && is_digit(digits[1]) &&
        digits.find_first_not_of('0') != kNone) {
      template_syntax(line_, "a number starts with 0");
    }
    add(kind, std::move(digits));
    advance_to(end);
  }

  void string(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) template_syntax(line_, "the string has no end");
    add(Kind::kString, StringLiteral(source_.substr(at_ + 1, end - at_ - 1), line_).value());
    advance_to(end + 1);
  }

  void operator_token(std::string& open_brackets) {
    constexpr std::array<std::string_view, 6> kPairs = {"**", "//", "==", "!=", ">=", "<="};
    constexpr std::string_view kSingles = "+-*/%~[](){}<>=.:|,;";
    size_t length = 1;
    if (std::any_of(kPairs.begin(), kPairs.end(), [&](auto pair) { return sees(pair); })) {
      length = 2;
    } else if (kSingles.find(source_[at_]) == kNone) {
      template_syntax(line_, "unexpected character '", source_[at_], "'");
    }
    const std::string_view spelling = rest().substr(0, length);
    balance(spelling, open_brackets);
    add(Kind::kOperator, std::string(spelling));
    advance(length);
  }

  void balance(std::string_view spelling, std::string& open_brackets) const {
    constexpr std::string_view kOpening = "([{";
    constexpr std::string_view kClosing = ")]}";
    if (const size_t opening = kOpening.find(spelling); opening != kNone) {
      open_brackets += kClosing[opening];
    } else if (kClosing.find(spelling) != kNone) {
      if (open_brackets.empty()) template_syntax(line_, "unexpected '", spelling, "'");
      if (open_brackets.back() != spelling[0]) {
        template_syntax(line_, "unexpected '", spelling, "', expected '", open_brackets.back(),
                        "'");
      }
      open_brackets.pop_back();
    }
  }

  std::string storage_;
  std::string_view source_;
  size_t at_ = 0;
  int line_ = 1;
  std::vector<TemplateToken> tokens_;
};

}  // namespace

std::vector<TemplateToken> split_template(std::string_view source) {
  return Lexer(normalized(source)).tokens();
}

}  // namespace switchyard
