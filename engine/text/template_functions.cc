// The functions that a chat template may call by name, Jinja's and those of chat templates.
#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <utility>

#include "engine/text/template_builtins.h"
#include "engine/text/template_print.h"

namespace switchyard {

namespace {

using Arguments = TemplateArguments;
using Kind = TemplateValue::Kind;
using Runtime = TemplateRuntime;
using Value = TemplateValue;

constexpr int64_t kLongestRange = 100'000;  // as in Jinja's sandbox

Value function_range(Runtime& runtime, const Value& /*none*/, const Arguments& arguments) {
  const BoundArguments bound("range", arguments, {"start", "stop", "step"});
  const bool only_stop = !bound.has(1);
  const int64_t start = only_stop ? 0 : bound.integer(0);
  const int64_t stop = bound.integer(only_stop ? 0 : 1);
  const int64_t step = bound.integer_or(2, 1);
  if (step == 0) template_failed("range(): 'step' must not be zero");
  TemplateItems items;
  for (int64_t at = start; step > 0 ? at < stop : at > stop;) {
    if (items.size() == kLongestRange) {
      template_failed("range(): longer than ", kLongestRange, " elements");
    }
    items.push_back(Value::integer(at));
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return Value::sequence(runtime, SequenceKind::kRange, std::move(items));
}

// The entries of an optional map or list of pairs, then the named arguments.
TemplateEntries entries_of(Runtime& runtime, const Arguments& arguments) {
  TemplateEntries entries;
  if (arguments.positional.size() > 1) template_failed("dict() takes one positional argument");
  if (!arguments.positional.empty()) {
    const Value& given = arguments.positional[0];
    given.require_defined();
    if (given.is(Kind::kMap)) {
      entries = given.entries();
    } else {
      const Value pairs = iterate(runtime, given);
      for (const Value& pair : pairs.items()) {
        const Value parts = iterate(runtime, pair);
        if (parts.items().size() != 2) template_failed("dict() needs pairs");
        entries.emplace_back(parts.items()[0], parts.items()[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) {
    entries.emplace_back(Value::text(runtime, std::string(name)), value);
  }
  return entries;
}

Value function_dict(Runtime& runtime, const Value& /*none*/, const Arguments& arguments) {
  return Value::map(runtime, entries_of(runtime, arguments));
}

Value function_namespace(Runtime& runtime, const Value& /*none*/, const Arguments& arguments) {
  auto made = std::make_shared<TemplateNamespace>(runtime);
  for (auto& [name, value] : entries_of(runtime, arguments)) {
    if (!name.is_text()) template_failed("namespace() needs names that are strings");
    made->set(name.as_text(), value);
  }
  runtime.adopt(made);
  return Value::object(std::move(made));
}

// Writes nothing the first time that it is called, and its separator from then on.
Value function_joiner(Runtime& runtime, const Value& /*none*/, const Arguments& arguments) {
  const BoundArguments bound("joiner", arguments, {"sep"});
  const Value separator = to_text(runtime, bound.value_or(0, Value::constant_text(", ")));
  return Value::object(std::make_shared<TemplateFunction>(
      runtime, 1, [separator, used = false](Runtime&, const Arguments& given) mutable {
        check_arguments("joiner", given, {});
        return std::exchange(used, true) ? separator : Value::constant_text({});
      }));
}

Value function_raise(Runtime& runtime, const Value& /*none*/, const Arguments& arguments) {
  const BoundArguments bound("raise_exception", arguments, {"message"});
  const Value message = to_text(runtime, bound.value(0));
  throw TemplateError(TemplateError::Kind::kRaised, message.as_text());
}

// One directive of strftime that cannot grow out of hand.
std::string time_part(char directive, const std::tm& time) {
  const char format[] = {'%', directive, '\0'};
  std::array<char, 128> buffer{};
  const size_t length = std::strftime(buffer.data(), buffer.size(), format, &time);
  return {buffer.data(), length};
}

// datetime.now().strftime(format). The time is UTC: a server's own zone is no part of a request.
Value function_strftime(Runtime& runtime, const Value& /*none*/, const Arguments& arguments) {
  const BoundArguments bound("strftime_now", arguments, {"format"});
  const std::time_t seconds = std::chrono::system_clock::to_time_t(runtime.now());
  std::tm time{};
  if (gmtime_r(&seconds, &time) == nullptr) template_failed("the time has no date");
  TemplateTextBuilder out(runtime);
  const std::string& format = bound.text(0);
  for (size_t at = 0; at < format.size(); ++at) {
    if (format[at] != '%' || at + 1 == format.size()) {
      out.append(1, format[at]);
      continue;
    }
    const bool unpadded = format[at + 1] == '-' && at + 2 < format.size();
    at += unpadded ? 2 : 1;
    constexpr std::string_view kDirectives = "aAbBcdDeFhHIjmMnpRStTuUwWxXyYZz%";
    if (kDirectives.find(format[at]) == kDirectives.npos) {
      template_failed("strftime_now(): the directive '%", format[at], "' is not supported");
    }
    std::string part = time_part(format[at], time);
    if (unpadded && !part.empty()) {
      part.erase(0, std::min(part.find_first_not_of("0 "), part.size() - 1));
    }
    out.append(part);
  }
  return Value::text(std::move(out));
}

constexpr NamedBuiltin kFunctions[] = {
    {"dict", &function_dict},           {"joiner", &function_joiner},
    {"namespace", &function_namespace}, {"raise_exception", &function_raise},
    {"range", &function_range},         {"strftime_now", &function_strftime},
};

}  // namespace

std::span<const NamedBuiltin> template_functions() { return kFunctions; }

}  // namespace switchyard
