// Values as text. See the header.
#include "engine/text/template_print.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

#include "engine/text/template_unicode.h"
#include "engine/text/unicode.h"

namespace switchyard {

namespace {

using Kind = TemplateValue::Kind;

std::string hex_escape(std::string_view prefix, int digits, uint32_t value) {
  std::array<char, 12> buffer{};
  const int length = std::snprintf(buffer.data(), buffer.size(), "%0*x", digits, value);
  return std::string(prefix) + std::string(buffer.data(), static_cast<size_t>(length));
}

void print_repr_text(std::string_view text, TemplateTextBuilder& out) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  out.append(1, quote);
  for (size_t at = 0; at < text.size();) {
    const Utf8Char next = utf8_char_at(text, at);
    const char32_t point = next.code_point;
    if (point == U'\n') {
      out.append("\\n");
    } else if (point == U'\r') {
      out.append("\\r");
    } else if (point == U'\t') {
      out.append("\\t");
    } else if (point == U'\\' || point == static_cast<char32_t>(quote)) {
      out.append(1, '\\');
      out.append(1, static_cast<char>(point));
    } else if (is_python_printable(point)) {
      out.append(text.substr(at, next.length));
    } else if (point < 0x100) {
      out.append(hex_escape("\\x", 2, point));
    } else if (point < 0x10000) {
      out.append(hex_escape("\\u", 4, point));
    } else {
      out.append(hex_escape("\\U", 8, point));
    }
    at += next.length;
  }
  out.append(1, quote);
}

void print_repr(TemplateRuntime& runtime, const TemplateValue& value, TemplateTextBuilder& out) {
  runtime.step();
  switch (value.kind()) {
    case Kind::kUndefined:
      out.append("Undefined");
      return;
    case Kind::kNone:
      out.append("None");
      return;
    case Kind::kBoolean:
      out.append(value.as_boolean() ? "True" : "False");
      return;
    case Kind::kInteger:
      out.append(std::to_string(value.as_integer()));
      return;
    case Kind::kFloat:
      out.append(real_repr(value.as_real()));
      return;
    case Kind::kText:
      print_repr_text(value.as_text(), out);
      return;
    case Kind::kSequence: {
      const bool is_tuple = value.sequence_kind() == SequenceKind::kTuple;
      if (!is_tuple && value.sequence_kind() != SequenceKind::kList) break;
      out.append(1, is_tuple ? '(' : '[');
      std::string_view separator;
      for (const TemplateValue& item : value.items()) {
        out.append(separator);
        print_repr(runtime, item, out);
        separator = ", ";
      }
      if (is_tuple && value.items().size() == 1) out.append(1, ',');
      out.append(1, is_tuple ? ')' : ']');
      return;
    }
    case Kind::kMap: {
      out.append(1, '{');
      std::string_view separator;
      for (const auto& [key, item] : value.entries()) {
        out.append(separator);
        print_repr(runtime, key, out);
        out.append(": ");
        print_repr(runtime, item, out);
        separator = ", ";
      }
      out.append(1, '}');
      return;
    }
    case Kind::kObject:
      break;
  }
  // Python prints an address or internals here; a template that does so is mistaken.
  template_failed("a ", value.type_name(), " can't be printed");
}

class JsonWriter {
 public:
  JsonWriter(TemplateRuntime& runtime, const JsonStyle& style, TemplateTextBuilder& out)
      : runtime_(runtime), style_(style), out_(out) {}

  void write(const TemplateValue& value, size_t level) {
    runtime_.step();
    switch (value.kind()) {
      case Kind::kNone:
        return out_.append("null");
      case Kind::kBoolean:
        return out_.append(value.as_boolean() ? "true" : "false");
      case Kind::kInteger:
        return out_.append(std::to_string(value.as_integer()));
      case Kind::kFloat:
        return out_.append(number(value.as_real()));
      case Kind::kText:
        return write_text(value.as_text());
      case Kind::kSequence:
        if (value.sequence_kind() > SequenceKind::kTuple) break;
        return write_list(value.items(), level);
      case Kind::kMap:
        return write_map(value.entries(), level);
      case Kind::kUndefined:
      case Kind::kObject:
        break;
    }
    template_failed("Object of type ", value.type_name(), " is not JSON serializable");
  }

 private:
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
    return real_repr(value);
  }

  void write_text(std::string_view text) {
    out_.append(1, '"');
    for (size_t at = 0; at < text.size();) {
      const Utf8Char next = utf8_char_at(text, at);
      write_character(next.code_point, text.substr(at, next.length));
      at += next.length;
    }
    out_.append(1, '"');
  }

  void write_character(char32_t point, std::string_view bytes) {
    constexpr std::string_view kShort = "\"\\\b\f\n\r\t";
    constexpr std::string_view kLetters = "\"\\bfnrt";
    const size_t known = point < 0x80 ? kShort.find(static_cast<char>(point)) : kShort.npos;
    if (known != kShort.npos) {
      out_.append(1, '\\');
      out_.append(1, kLetters[known]);
    } else if (point >= 0x20 && (style_.alphabet == JsonAlphabet::kUnicode || point < 0x7F)) {
      out_.append(bytes);
    } else if (point < 0x10000) {
      out_.append(hex_escape("\\u", 4, point));
    } else {
      out_.append(hex_escape("\\u", 4, 0xD7C0 + (point >> 10)));
      out_.append(hex_escape("\\u", 4, 0xDC00 + (point & 0x3FF)));
    }
  }

  void write_list(const TemplateItems& items, size_t level) {
    if (items.empty()) return out_.append("[]");
    out_.append(1, '[');
    for (size_t i = 0; i < items.size(); ++i) {
      start_item(i, level + 1);
      write(items[i], level + 1);
    }
    end_items(level);
    out_.append(1, ']');
  }

  TemplateEntries sorted(TemplateEntries entries) {
    std::stable_sort(entries.begin(), entries.end(), [&](const auto& a, const auto& b) {
      return sorts_before(runtime_, a.first, b.first);
    });
    return entries;
  }

  void write_map(const TemplateEntries& inserted, size_t level) {
    if (inserted.empty()) return out_.append("{}");
    const bool sorts = style_.key_order == JsonKeyOrder::kSorted;
    const TemplateEntries& entries = sorts ? sorted(inserted) : inserted;
    out_.append(1, '{');
    for (size_t i = 0; i < entries.size(); ++i) {
      start_item(i, level + 1);
      write_key(entries[i].first);
      out_.append(style_.key_separator);
      write(entries[i].second, level + 1);
    }
    end_items(level);
    out_.append(1, '}');
  }

  void write_key(const TemplateValue& key) {
    if (key.is_text()) return write_text(key.as_text());
    if (!key.is_number() && !key.is_none()) {
      template_failed("keys must be str, int, float, bool or None, not ", key.type_name());
    }
    out_.append(1, '"');
    write(key, 0);
    out_.append(1, '"');
  }

  void start_item(size_t index, size_t level) {
    if (index > 0) out_.append(style_.item_separator);
    break_line(level);
  }
  void end_items(size_t level) { break_line(level); }
  void break_line(size_t level) {
    if (!style_.indent) return;
    out_.append(1, '\n');
    for (size_t i = 0; i < level; ++i) out_.append(*style_.indent);
  }

  TemplateRuntime& runtime_;
  const JsonStyle& style_;
  TemplateTextBuilder& out_;
};

}  // namespace

void print_text(TemplateRuntime& runtime, const TemplateValue& value, TemplateTextBuilder& out) {
  if (value.is_text()) return out.append(value.as_text());
  if (!value.is_undefined()) print_repr(runtime, value, out);
}

TemplateValue to_text(TemplateRuntime& runtime, const TemplateValue& value) {
  if (value.is_text()) return value;
  TemplateTextBuilder out(runtime);
  print_text(runtime, value, out);
  return TemplateValue::text(std::move(out));
}

TemplateValue to_repr(TemplateRuntime& runtime, const TemplateValue& value) {
  TemplateTextBuilder out(runtime);
  print_repr(runtime, value, out);
  return TemplateValue::text(std::move(out));
}

TemplateValue to_json(TemplateRuntime& runtime,
                      const TemplateValue& value,
                      const JsonStyle& style) {
  TemplateTextBuilder out(runtime);
  JsonWriter(runtime, style, out).write(value, 0);
  return TemplateValue::text(std::move(out));
}

std::string real_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::array<char, 40> buffer{};
  const auto written = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                     std::chars_format::scientific);
  const std::string_view shortest(buffer.data(), static_cast<size_t>(written.ptr - buffer.data()));
  const size_t e = shortest.find('e');
  int exponent = 0;
  // from_chars takes no plus sign.
  const size_t exponent_start = e + (shortest[e + 1] == '+' ? 2 : 1);
  std::from_chars(shortest.data() + exponent_start, shortest.data() + shortest.size(), exponent);
  if (exponent < -4 || exponent >= 16) return std::string(shortest);

  const bool negative = shortest[0] == '-';
  std::string digits;
  for (const char character : shortest.substr(0, e)) {
    if (character >= '0' && character <= '9') digits += character;
  }
  if (exponent < 0) {
    digits = "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  } else {
    const size_t whole = static_cast<size_t>(exponent) + 1;
    if (digits.size() < whole) digits.append(whole - digits.size(), '0');
    digits = digits.substr(0, whole) + "." + (digits.size() > whole ? digits.substr(whole) : "0");
  }
  return (negative ? "-" : "") + digits;
}

}  // namespace switchyard
