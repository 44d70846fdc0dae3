// Filters of one value: text, numbers, JSON.
#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "engine/text/template_builtins.h"
#include "engine/text/template_print.h"
#include "engine/text/template_unicode.h"

namespace switchyard {

namespace {

using Arguments = TemplateArguments;
using Kind = TemplateValue::Kind;
using Runtime = TemplateRuntime;
using Value = TemplateValue;

// Filters of text take any value and work on what it prints.
template <std::string (*change)(std::string_view)>
Value changed_text(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("filter", arguments, {});
  return Value::text(runtime, change(to_text(runtime, input).as_text()));
}

// Jinja's title, unlike str.title: a word also starts after - ( { [ < and white space only.
std::string filter_title(std::string_view text) {
  std::string out;
  bool starts_word = true;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view point = rest.substr(0, code_point_offset(rest.substr(0, 4), 1));
    rest.remove_prefix(point.size());
    out += starts_word ? upper_case(point) : lower_case(point);
    starts_word = strip_left(point).empty() || std::string_view("-({[<").find(point) < 5;
  }
  return out;
}

Value filter_trim(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("trim", arguments, {"chars"});
  const Value text = to_text(runtime, input);
  StripSet characters;
  if (bound.is_set(0)) characters = bound.text(0);
  return Value::text(runtime, std::string(strip_both(text.as_text(), characters)));
}

Value filter_string(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("string", arguments, {});
  return to_text(runtime, input);
}

// Nothing is escaped on output, so marking text as safe changes nothing.
Value filter_safe(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("safe", arguments, {});
  return to_text(runtime, input);
}

Value filter_escape(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("escape", arguments, {});
  const Value text = to_text(runtime, input);
  TemplateTextBuilder out(runtime);
  for (const char c : text.as_text()) {
    constexpr std::string_view kSpecial = "&<>'\"";
    constexpr std::array<std::string_view, 5> kEscapes = {"&amp;", "&lt;", "&gt;", "&#39;",
                                                          "&#34;"};
    const size_t at = kSpecial.find(c);
    out.append(at == kSpecial.npos ? std::string_view(&c, 1) : kEscapes[at]);
  }
  return Value::text(std::move(out));
}

Value filter_replace(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("replace", arguments, {"old", "new", "count"});
  Arguments forwarded;
  forwarded.positional = {to_text(runtime, bound.value(0)), to_text(runtime, bound.value(1))};
  if (bound.is_set(2)) forwarded.positional.push_back(bound.value(2));
  return find_builtin(text_methods(), "replace")(runtime, to_text(runtime, input), forwarded);
}

Value filter_format(Runtime& runtime, const Value& input, const Arguments& arguments) {
  if (!arguments.named.empty()) template_failed("format() with names is not supported");
  return format_percent(runtime, to_text(runtime, input).as_text(),
                        Value::sequence(runtime, SequenceKind::kTuple, arguments.positional));
}

Value filter_indent(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("indent", arguments, {"width", "first", "blank"});
  const Value text = to_text(runtime, input);
  std::string indentation;
  if (bound.has(0) && bound.value(0).is_text()) {
    indentation = bound.text(0);
  } else {
    const int64_t width = std::max<int64_t>(bound.integer_or(0, 4), 0);
    runtime.admit_text(static_cast<size_t>(width));
    indentation.assign(static_cast<size_t>(width), ' ');
  }
  const bool blank = bound.truth_or(2, false);
  TemplateTextBuilder out(runtime);
  if (bound.truth_or(1, false)) out.append(indentation);
  // A last line end makes one more, empty line.
  const std::string ended = text.as_text() + "\n";
  const TemplateCharge lines_charge = runtime.hold(ended.size() * sizeof(std::string_view));
  bool is_first = true;
  for (const std::string_view line : lines_of(ended)) {
    if (!is_first) out.append("\n");
    if (!is_first && (blank || !line.empty())) out.append(indentation);
    out.append(line);
    is_first = false;
  }
  return Value::text(std::move(out));
}

std::string json_indent(Runtime& runtime, const Value& indent) {
  if (indent.is_text()) return indent.as_text();
  if (!indent.is_integral()) template_failed("tojson(): 'indent' must be an integer or a string");
  const size_t width = static_cast<size_t>(std::max<int64_t>(indent.as_integer(), 0));
  runtime.admit_text(width);
  return std::string(width, ' ');
}

// As transformers defines it: json.dumps, without HTML escapes.
Value filter_tojson(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("tojson", arguments,
                             {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  if (bound.truth_or(0, false)) style.alphabet = JsonAlphabet::kAscii;
  if (bound.is_set(1)) {
    style.indent = json_indent(runtime, bound.value(1));
    style.item_separator = ",";
  }
  if (bound.is_set(2)) {
    const Value separators = iterate(runtime, bound.value(2));
    if (separators.items().size() != 2 || !separators.items()[0].is_text() ||
        !separators.items()[1].is_text()) {
      template_failed("tojson(): 'separators' must be two strings");
    }
    style.item_separator = separators.items()[0].as_text();
    style.key_separator = separators.items()[1].as_text();
  }
  if (bound.truth_or(3, false)) style.key_order = JsonKeyOrder::kSorted;
  return to_json(runtime, input, style);
}

// Python's int(text) and float(text) read digits with single underscores between them.
std::optional<std::string> plain_digits(const std::string& text) {
  std::string digits(strip_both(text));
  for (size_t i = 0; i < digits.size(); ++i) {
    const auto is_digit = [&](size_t at) {
      return at < digits.size() && std::isxdigit(static_cast<unsigned char>(digits[at])) != 0;
    };
    if (digits[i] == '_' && (i == 0 || !is_digit(i - 1) || !is_digit(i + 1))) return {};
  }
  std::erase(digits, '_');
  if (!digits.starts_with('+')) return digits;
  if (digits.starts_with("+-") || digits.starts_with("++")) return {};
  return digits.substr(1);
}

std::optional<int64_t> parsed_integer(const std::string& text, int base) {
  std::optional<std::string> digits = plain_digits(text);
  if (!digits) return {};
  const bool negative = digits->starts_with('-');
  const std::string_view prefix = base == 16 ? "0x" : base == 8 ? "0o" : base == 2 ? "0b" : "";
  if (!prefix.empty() && std::string_view(*digits).substr(negative ? 1 : 0).starts_with(prefix)) {
    digits->erase(negative ? 1 : 0, 2);
  }
  int64_t value = 0;
  const auto read = std::from_chars(digits->data(), digits->data() + digits->size(), value, base);
  if (read.ec == std::errc::result_out_of_range) {
    template_failed("integer ", text.substr(0, 40), " does not fit 64 signed bits");
  }
  if (read.ec != std::errc() || read.ptr != digits->data() + digits->size()) return {};
  return value;
}

std::optional<double> parsed_real(const std::string& text) {
  const std::optional<std::string> digits = plain_digits(text);
  if (!digits || digits->empty() || digits->find_first_of("xX(") != std::string::npos) return {};
  char* end = nullptr;
  const double value = std::strtod(digits->c_str(), &end);
  if (end != digits->c_str() + digits->size()) return {};
  return value;
}

std::optional<int64_t> truncated(double value) {
  if (!(std::abs(value) < 9.2e18)) return {};
  return static_cast<int64_t>(value);
}

Value filter_int(Runtime& /*runtime*/, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("int", arguments, {"default", "base"});
  input.require_defined();
  std::optional<int64_t> result;
  if (input.is_integral()) result = input.as_integer();
  if (input.is(Kind::kFloat)) result = truncated(input.as_real());
  if (input.is_text()) {
    const int64_t base = bound.integer_or(1, 10);
    if (base < 2 || base > 36) template_failed("int(): 'base' must be 2 to 36");
    result = parsed_integer(input.as_text(), static_cast<int>(base));
    if (!result) {
      if (const auto real = parsed_real(input.as_text())) result = truncated(*real);
    }
  }
  return result ? Value::integer(*result) : bound.value_or(0, Value::integer(0));
}

Value filter_float(Runtime& /*runtime*/, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("float", arguments, {"default"});
  input.require_defined();
  if (input.is_number()) return Value::real(input.as_real());
  std::optional<double> result;
  if (input.is_text()) result = parsed_real(input.as_text());
  return result ? Value::real(*result) : bound.value_or(0, Value::real(0));
}

const Value& require_number(const Value& input) {
  input.require_defined();
  if (!input.is_number()) template_failed("a number is needed, not a '", input.type_name(), "'");
  return input;
}

Value filter_abs(Runtime& /*runtime*/, const Value& input, const Arguments& arguments) {
  check_arguments("abs", arguments, {});
  if (require_number(input).is(Kind::kFloat)) return Value::real(std::abs(input.as_real()));
  if (input.as_integer() == INT64_MIN) template_failed("an integer does not fit 64 signed bits");
  return Value::integer(std::abs(input.as_integer()));
}

// Half to even on the exact binary value, as Python rounds.
double rounded(double value, int64_t precision) {
  if (precision > 300 || !std::isfinite(value)) return value;
  if (precision >= 0) {
    std::array<char, 800> buffer{};
    std::snprintf(buffer.data(), buffer.size(), "%.*f", static_cast<int>(precision), value);
    return std::strtod(buffer.data(), nullptr);
  }
  if (precision < -308) return std::copysign(0.0, value);
  const double scale = std::pow(10.0, static_cast<double>(-precision));
  return std::nearbyint(value / scale) * scale;
}

Value filter_round(Runtime& /*runtime*/, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("round", arguments, {"precision", "method"});
  const int64_t precision = bound.integer_or(0, 0);
  const std::string method = bound.has(1) ? bound.text(1) : "common";
  if (method == "common") {
    if (require_number(input).is_integral() && precision >= 0) {
      return Value::integer(input.as_integer());
    }
    const double result = rounded(input.as_real(), precision);
    if (input.is_integral()) return Value::integer(truncated(result).value_or(0));
    return Value::real(result);
  }
  if (method != "ceil" && method != "floor") {
    template_failed("round(): 'method' must be common, ceil or floor");
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = require_number(input).as_real() * scale;
  return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Value filter_default(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("default", arguments, {"default_value", "boolean"});
  const bool replaced = input.is_undefined() || (bound.truth_or(1, false) && !input.truth());
  if (!replaced) return input;
  return bound.has(0) ? bound.value(0) : Value::text(runtime, {});
}

constexpr NamedBuiltin kFilters[] = {
    {"abs", &filter_abs},
    {"capitalize", &changed_text<&capitalized>},
    {"d", &filter_default},
    {"default", &filter_default},
    {"e", &filter_escape},
    {"escape", &filter_escape},
    {"float", &filter_float},
    {"format", &filter_format},
    {"indent", &filter_indent},
    {"int", &filter_int},
    {"lower", &changed_text<&lower_case>},
    {"replace", &filter_replace},
    {"round", &filter_round},
    {"safe", &filter_safe},
    {"string", &filter_string},
    {"title", &changed_text<&filter_title>},
    {"tojson", &filter_tojson},
    {"trim", &filter_trim},
    {"upper", &changed_text<&upper_case>},
};

}  // namespace

std::span<const NamedBuiltin> text_filters() { return kFilters; }

}  // namespace switchyard
