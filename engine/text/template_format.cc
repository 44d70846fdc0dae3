// Python's two ways to fill a text with values: "%s" % value and "{}".format(value).
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "engine/text/template_builtins.h"
#include "engine/text/template_operators.h"
#include "engine/text/template_print.h"
#include "engine/text/template_unicode.h"

namespace switchyard {

namespace {

using Kind = TemplateValue::Kind;
constexpr int64_t kMostDigits = 300;  // of a precision: no number needs more to be exact enough

// One conversion: how wide, how precise, which letter.
struct Conversion {
  char fill = ' ';
  char align = '\0';  // < > ^, or by the kind of value
  bool plus = false;
  int64_t width = 0;
  int64_t precision = -1;
  char letter = '\0';
};

int64_t read_number(std::string_view text, size_t& at) {
  int64_t number = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    number = number * 10 + (text[at] - '0');
    if (number > INT32_MAX) template_failed("a width or precision is too large");
  }
  return number;
}

std::string number_text(const TemplateValue& value, const Conversion& conversion) {
  if (!value.is_number()) {
    template_failed("%", conversion.letter, " format: a number is required, not ",
                    value.type_name());
  }
  std::array<char, 700> buffer{};
  int length = 0;
  if (conversion.letter == 'd' || conversion.letter == 'i') {
    const double real = value.as_real();
    if (!value.is_integral() && !(std::abs(real) < 9.2e18)) {
      template_failed("a float does not fit an integer");
    }
    const long long whole = value.is_integral() ? value.as_integer() : static_cast<int64_t>(real);
    length = std::snprintf(buffer.data(), buffer.size(), "%lld", whole);
  } else if (conversion.letter == 'x') {
    if (!value.is_integral()) template_failed("%x format: an integer is required");
    const bool negative = value.as_integer() < 0;
    const uint64_t bits = static_cast<uint64_t>(value.as_integer());
    length = std::snprintf(buffer.data(), buffer.size(), "%s%llx", negative ? "-" : "",
                           static_cast<unsigned long long>(negative ? 0 - bits : bits));
  } else {
    if (conversion.precision > kMostDigits) template_failed("a precision is too large");
    const int precision = conversion.precision < 0 ? 6 : static_cast<int>(conversion.precision);
    const char format[] = {'%', '.', '*', conversion.letter, '\0'};
    length = std::snprintf(buffer.data(), buffer.size(), format, precision, value.as_real());
  }
  std::string text(buffer.data(), static_cast<size_t>(length));
  return conversion.plus && text[0] != '-' ? "+" + text : text;
}

TemplateValue converted(TemplateRuntime& runtime,
                        const TemplateValue& value,
                        const Conversion& conversion) {
  if (conversion.letter == 'r') return to_repr(runtime, value);
  if (conversion.letter != 's') {
    value.require_defined();
    return TemplateValue::text(runtime, number_text(value, conversion));
  }
  TemplateValue text = to_text(runtime, value);
  if (conversion.precision < 0) return text;
  return slice_of(
      runtime, text,
      {TemplateValue::none(), TemplateValue::integer(conversion.precision), TemplateValue::none()});
}

void append_aligned(TemplateTextBuilder& out,
                    const TemplateValue& text,
                    const Conversion& conversion) {
  const std::string_view body = text.as_text();
  const size_t width = static_cast<size_t>(conversion.width);
  const size_t padding = width > text.text_length() ? width - text.text_length() : 0;
  const bool has_sign = body.starts_with('-') || body.starts_with('+');
  if (conversion.align == '=' && has_sign) {
    out.append(body.substr(0, 1));
    out.append(padding, conversion.fill);
    return out.append(body.substr(1));
  }
  const size_t left = conversion.align == '<' ? 0 : conversion.align == '^' ? padding / 2 : padding;
  out.append(left, conversion.fill);
  out.append(body);
  out.append(padding - left, conversion.fill);
}

Conversion percent_conversion(std::string_view format, size_t& at) {
  Conversion conversion;
  conversion.align = '>';
  for (; at < format.size(); ++at) {
    if (format[at] == '-') {
      conversion.align = '<';
    } else if (format[at] == '0') {
      conversion.fill = '0';
    } else if (format[at] == '+') {
      conversion.plus = true;
    } else {
      break;
    }
  }
  conversion.width = read_number(format, at);
  if (at < format.size() && format[at] == '.') conversion.precision = read_number(format, ++at);
  if (at == format.size()) template_failed("incomplete format");
  conversion.letter = format[at++];
  if (std::string_view("srdixfeg%").find(conversion.letter) == std::string_view::npos) {
    template_failed("unsupported format character '", conversion.letter, "'");
  }
  const bool is_number = conversion.letter != 's' && conversion.letter != 'r';
  if (conversion.align == '<' || !is_number) conversion.fill = ' ';
  if (conversion.fill == '0') conversion.align = '=';
  return conversion;
}

// [[fill]align][+][0][width][.precision][letter] of a replacement field.
Conversion brace_conversion(std::string_view spec, const TemplateValue& value) {
  Conversion conversion;
  size_t at = 0;
  constexpr std::string_view kAligns = "<>^=";
  if (spec.size() > 1 && kAligns.find(spec[1]) != kAligns.npos) {
    conversion.fill = spec[0];
    conversion.align = spec[1];
    at = 2;
  } else if (!spec.empty() && kAligns.find(spec[0]) != kAligns.npos) {
    conversion.align = spec[0];
    at = 1;
  }
  if (at < spec.size() && spec[at] == '+') {
    conversion.plus = true;
    ++at;
  }
  if (at < spec.size() && spec[at] == '0' && conversion.align == '\0') {
    conversion.fill = '0';
    conversion.align = '=';
  }
  conversion.width = read_number(spec, at);
  if (at < spec.size() && spec[at] == '.') conversion.precision = read_number(spec, ++at);
  if (at < spec.size()) conversion.letter = spec[at++];
  const bool known = std::string_view("\0sdxfeg", 7).find(conversion.letter) != spec.npos;
  if (at != spec.size() || !known || static_cast<unsigned char>(conversion.fill) >= 0x80) {
    template_failed("unsupported format '", spec, "'");
  }
  if (conversion.align == '\0') conversion.align = value.is_number() ? '>' : '<';
  if (conversion.letter == '\0') {
    if (value.is(Kind::kInteger)) {
      conversion.letter = 'd';
    } else {
      conversion.letter = value.is(Kind::kFloat) && conversion.precision >= 0 ? 'g' : 's';
    }
  }
  return conversion;
}

// The value that a replacement field names, by number or by name; without either, the next one.
TemplateValue field_value(std::string_view field,
                          const TemplateArguments& arguments,
                          size_t& next) {
  if (field.find_first_of(".[!") != field.npos) {
    template_failed("replacement field '", field, "' is not supported");
  }
  for (const auto& [name, value] : arguments.named) {
    if (name == field) return value;
  }
  size_t at = 0;
  const size_t index = field.empty() ? next++ : static_cast<size_t>(read_number(field, at));
  if (at != field.size() || index >= arguments.positional.size()) {
    template_failed("replacement field '", field, "' has no value");
  }
  return arguments.positional[index];
}

}  // namespace

TemplateValue format_percent(TemplateRuntime& runtime,
                             std::string_view format,
                             const TemplateValue& values) {
  const bool is_tuple = values.is_sequence(SequenceKind::kTuple);
  size_t used = 0;
  const auto next = [&]() -> const TemplateValue& {
    const size_t count = is_tuple ? values.items().size() : 1;
    if (used == count) template_failed("not enough arguments for format string");
    ++used;
    return is_tuple ? values.items()[used - 1] : values;
  };
  TemplateTextBuilder out(runtime);
  for (size_t at = 0; at < format.size();) {
    const size_t percent = std::min(format.find('%', at), format.size());
    out.append(format.substr(at, percent - at));
    if (percent == format.size()) break;
    at = percent + 1;
    const Conversion conversion = percent_conversion(format, at);
    if (conversion.letter == '%') {
      out.append("%");
    } else {
      append_aligned(out, converted(runtime, next(), conversion), conversion);
    }
  }
  if (is_tuple ? used < values.items().size() : used == 0 && !values.is(Kind::kMap)) {
    template_failed("not all arguments converted during string formatting");
  }
  return TemplateValue::text(std::move(out));
}

TemplateValue format_braces(TemplateRuntime& runtime,
                            std::string_view format,
                            const TemplateArguments& arguments) {
  TemplateTextBuilder out(runtime);
  size_t next = 0;
  for (size_t at = 0; at < format.size();) {
    const char c = format[at];
    if (c != '{' && c != '}') {
      const size_t end = std::min(format.find_first_of("{}", at), format.size());
      out.append(format.substr(at, end - at));
      at = end;
      continue;
    }
    if (at + 1 < format.size() && format[at + 1] == c) {
      out.append(1, c);
      at += 2;
      continue;
    }
    const size_t end = format.find('}', at);
    if (c == '}' || end == format.npos) template_failed("single '", c, "' in format string");
    const std::string_view inside = format.substr(at + 1, end - at - 1);
    const size_t colon = std::min(inside.find(':'), inside.size());
    const TemplateValue value = field_value(inside.substr(0, colon), arguments, next);
    const std::string_view spec = colon < inside.size() ? inside.substr(colon + 1) : "";
    const Conversion conversion = brace_conversion(spec, value);
    append_aligned(out, converted(runtime, value, conversion), conversion);
    at = end + 1;
  }
  return TemplateValue::text(std::move(out));
}

}  // namespace switchyard
