// The methods of Python's str that templates call.
#include <algorithm>

#include "engine/text/template_builtins.h"
#include "engine/text/template_print.h"
#include "engine/text/template_unicode.h"

namespace switchyard {

namespace {

using Arguments = TemplateArguments;
using Runtime = TemplateRuntime;
using Value = TemplateValue;

template <std::string (*change)(std::string_view)>
Value changed(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("method", arguments, {});
  runtime.touch(input.as_text().size());
  return Value::text(runtime, change(input.as_text()));
}

template <std::string_view (*strip)(std::string_view, StripSet)>
Value stripped(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("strip", arguments, {"chars"});
  StripSet characters;
  if (bound.is_set(0)) characters = bound.text(0);
  return Value::text(runtime, std::string(strip(input.as_text(), characters)));
}

template <bool (*holds)(std::string_view)>
Value tested(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("method", arguments, {});
  runtime.touch(input.as_text().size());
  return Value::boolean(holds(input.as_text()));
}

bool all_characters(std::string_view text, bool (*holds)(std::string_view)) {
  for (std::string_view rest = text; !rest.empty();) {
    const size_t length = code_point_offset(rest.substr(0, 4), 1);
    if (!holds(rest.substr(0, length))) return false;
    rest.remove_prefix(length);
  }
  return !text.empty();
}
bool is_space(std::string_view text) { return !text.empty() && strip_left(text).empty(); }
bool is_digits(std::string_view text) {
  return all_characters(text, [](std::string_view c) { return c >= "0" && c <= "9"; });
}
bool is_letters(std::string_view text) {
  return all_characters(
      text, [](std::string_view c) { return upper_case(c) != c || lower_case(c) != c; });
}
bool is_letters_or_digits(std::string_view text) {
  return all_characters(text, [](std::string_view c) {
    return is_digits(c) || upper_case(c) != c || lower_case(c) != c;
  });
}

// Pieces of a text become a list under the limits.
class Pieces {
 public:
  explicit Pieces(Runtime& runtime) : runtime_(runtime) {}
  void add(std::string_view piece) { items_.push_back(Value::text(runtime_, std::string(piece))); }
  Value list() && { return Value::list(runtime_, std::move(items_)); }
  Value reversed_list() && {
    std::reverse(items_.begin(), items_.end());
    return std::move(*this).list();
  }

 private:
  Runtime& runtime_;
  TemplateItems items_;
};

constexpr size_t kUnlimited = SIZE_MAX;
size_t split_limit(const BoundArguments& bound) {
  const int64_t given = bound.integer_or(1, -1);
  return given < 0 ? kUnlimited : static_cast<size_t>(given);
}

const std::string& separator_of(const BoundArguments& bound) {
  const std::string& separator = bound.text(0);
  if (separator.empty()) template_failed("empty separator");
  return separator;
}

// The first white space at or after the start of `text`, or its end.
size_t word_end(std::string_view text) {
  size_t end = 0;
  while (end < text.size()) {
    const size_t length = code_point_offset(text.substr(end, 4), 1);
    if (is_space(text.substr(end, length))) break;
    end += length;
  }
  return end;
}

Value split_words(Runtime& runtime, std::string_view rest, size_t limit) {
  Pieces pieces(runtime);
  rest = strip_left(rest);
  for (size_t splits = 0; !rest.empty(); ++splits) {
    const size_t end = splits < limit ? word_end(rest) : rest.size();
    pieces.add(rest.substr(0, end));
    rest = strip_left(rest.substr(end));
  }
  return std::move(pieces).list();
}

Value rsplit_words(Runtime& runtime, std::string_view rest, size_t limit) {
  Pieces pieces(runtime);
  rest = strip_right(rest);
  for (size_t splits = 0; !rest.empty(); ++splits) {
    size_t start = splits < limit ? rest.size() : 0;
    while (start > 0) {
      size_t before = start - 1;
      while (before > 0 && (static_cast<unsigned char>(rest[before]) & 0xC0) == 0x80) --before;
      if (is_space(rest.substr(before, start - before))) break;
      start = before;
    }
    pieces.add(rest.substr(start));
    rest = strip_right(rest.substr(0, start));
  }
  return std::move(pieces).reversed_list();
}

Value method_split(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("split", arguments, {"sep", "maxsplit"});
  const size_t limit = split_limit(bound);
  std::string_view rest = input.as_text();
  runtime.touch(rest.size());
  if (!bound.is_set(0)) return split_words(runtime, rest, limit);
  const std::string& separator = separator_of(bound);
  Pieces pieces(runtime);
  for (size_t splits = 0; splits < limit; ++splits) {
    const size_t found = find_text(rest, separator);
    if (found == rest.npos) break;
    pieces.add(rest.substr(0, found));
    rest.remove_prefix(found + separator.size());
  }
  pieces.add(rest);
  return std::move(pieces).list();
}

Value method_rsplit(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("rsplit", arguments, {"sep", "maxsplit"});
  const size_t limit = split_limit(bound);
  std::string_view rest = input.as_text();
  runtime.touch(rest.size());
  if (!bound.is_set(0)) return rsplit_words(runtime, rest, limit);
  const std::string& separator = separator_of(bound);
  // Found from the end, which is the start of both reversed.
  const std::string reversed = reversed_text(rest);
  const std::string reversed_separator = reversed_text(separator);
  Pieces pieces(runtime);
  for (size_t splits = 0; splits < limit; ++splits) {
    const size_t from = reversed.size() - rest.size();
    const size_t found = find_text(reversed, reversed_separator, from);
    if (found == std::string::npos) break;
    const size_t start = rest.size() - (found - from);
    pieces.add(rest.substr(start));
    rest = rest.substr(0, start - separator.size());
  }
  pieces.add(rest);
  return std::move(pieces).reversed_list();
}

Value method_splitlines(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("splitlines", arguments, {});
  const TemplateCharge lines_charge =
      runtime.hold(input.as_text().size() * sizeof(std::string_view));
  Pieces pieces(runtime);
  for (const std::string_view line : lines_of(input.as_text())) pieces.add(line);
  return std::move(pieces).list();
}

// startswith and endswith take one text or a tuple of them.
template <typename Holds>
Value any_of(const BoundArguments& bound, const Holds& holds) {
  const Value& given = bound.value(0);
  if (!given.is_sequence(SequenceKind::kTuple)) return Value::boolean(holds(bound.text(0)));
  return Value::boolean(
      std::any_of(given.items().begin(), given.items().end(),
                  [&](const Value& v) { return v.is_text() && holds(v.as_text()); }));
}

Value method_startswith(Runtime& /*runtime*/, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("startswith", arguments, {"prefix"});
  return any_of(bound, [&](const std::string& text) { return input.as_text().starts_with(text); });
}

Value method_endswith(Runtime& /*runtime*/, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("endswith", arguments, {"suffix"});
  return any_of(bound, [&](const std::string& text) { return input.as_text().ends_with(text); });
}

Value method_removeprefix(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("removeprefix", arguments, {"prefix"});
  if (!input.as_text().starts_with(bound.text(0))) return input;
  return Value::text(runtime, input.as_text().substr(bound.text(0).size()));
}

Value method_removesuffix(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("removesuffix", arguments, {"suffix"});
  if (!input.as_text().ends_with(bound.text(0))) return input;
  return Value::text(runtime,
                     input.as_text().substr(0, input.as_text().size() - bound.text(0).size()));
}

Value method_replace(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("replace", arguments, {"old", "new", "count"});
  const std::string& old = bound.text(0);
  const std::string& replacement = bound.text(1);
  const int64_t given = bound.integer_or(2, -1);
  const size_t limit = given < 0 ? kUnlimited : static_cast<size_t>(given);
  std::string_view rest = input.as_text();
  runtime.touch(rest.size());
  TemplateTextBuilder out(runtime);
  for (size_t count = 0; count < limit; ++count) {
    const size_t found = find_text(rest, old);
    if (found == rest.npos) break;
    out.append(rest.substr(0, found));
    out.append(replacement);
    rest.remove_prefix(found + old.size());
    if (!old.empty()) continue;
    // The empty text is found before every character and at the end.
    if (rest.empty()) break;
    const size_t length = code_point_offset(rest.substr(0, 4), 1);
    out.append(rest.substr(0, length));
    rest.remove_prefix(length);
  }
  out.append(rest);
  return Value::text(std::move(out));
}

Value method_join(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("join", arguments, {"iterable"});
  const Value elements = iterate(runtime, bound.value(0));
  TemplateTextBuilder out(runtime);
  for (size_t i = 0; i < elements.items().size(); ++i) {
    const Value& item = elements.items()[i];
    if (!item.is_text()) template_failed("join(): expected str, '", item.type_name(), "' found");
    runtime.step();
    if (i > 0) out.append(input.as_text());
    out.append(item.as_text());
  }
  return Value::text(std::move(out));
}

enum class Absent { kMinusOne, kError };

template <Absent absent>
Value method_find(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("find", arguments, {"sub"});
  const std::string_view text = input.as_text();
  runtime.touch(text.size());
  const size_t found = find_text(text, bound.text(0));
  if (found != text.npos) {
    return Value::integer(static_cast<int64_t>(code_point_count(text.substr(0, found))));
  }
  if (absent == Absent::kError) template_failed("substring not found");
  return Value::integer(-1);
}

Value method_rfind(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("rfind", arguments, {"sub"});
  const std::string_view text = input.as_text();
  runtime.touch(text.size());
  const std::string reversed = reversed_text(text);
  const size_t found = find_text(reversed, reversed_text(bound.text(0)));
  if (found == std::string::npos) return Value::integer(-1);
  const size_t start = text.size() - found - bound.text(0).size();
  return Value::integer(static_cast<int64_t>(code_point_count(text.substr(0, start))));
}

Value method_count(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("count", arguments, {"sub"});
  const std::string& sought = bound.text(0);
  runtime.touch(input.as_text().size());
  if (sought.empty()) return Value::integer(static_cast<int64_t>(input.text_length()) + 1);
  int64_t count = 0;
  for (size_t at = 0; (at = find_text(input.as_text(), sought, at)) != std::string::npos; ++count) {
    at += sought.size();
  }
  return Value::integer(count);
}

Value method_format(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return format_braces(runtime, input.as_text(), arguments);
}

constexpr NamedBuiltin kMethods[] = {
    {"capitalize", &changed<&capitalized>},
    {"count", &method_count},
    {"endswith", &method_endswith},
    {"find", &method_find<Absent::kMinusOne>},
    {"format", &method_format},
    {"index", &method_find<Absent::kError>},
    {"isalnum", &tested<&is_letters_or_digits>},
    {"isalpha", &tested<&is_letters>},
    {"isdigit", &tested<&is_digits>},
    {"islower", &tested<&is_lower_case>},
    {"isspace", &tested<&is_space>},
    {"isupper", &tested<&is_upper_case>},
    {"join", &method_join},
    {"lower", &changed<&lower_case>},
    {"lstrip", &stripped<&strip_left>},
    {"removeprefix", &method_removeprefix},
    {"removesuffix", &method_removesuffix},
    {"replace", &method_replace},
    {"rfind", &method_rfind},
    {"rsplit", &method_rsplit},
    {"rstrip", &stripped<&strip_right>},
    {"split", &method_split},
    {"splitlines", &method_splitlines},
    {"startswith", &method_startswith},
    {"strip", &stripped<&strip_both>},
    {"title", &changed<&title_case>},
    {"upper", &changed<&upper_case>},
};

}  // namespace

std::span<const NamedBuiltin> text_methods() { return kMethods; }

}  // namespace switchyard
