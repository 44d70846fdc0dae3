// The methods of Python's list, tuple and dict that leave them as they are. The others are absent,
// as they are in Jinja's immutable sandbox.
#include "engine/text/template_builtins.h"
#include "engine/text/template_operators.h"

namespace switchyard {

namespace {

using Arguments = TemplateArguments;
using Runtime = TemplateRuntime;
using Value = TemplateValue;

Value list_index(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("index", arguments, {"value"});
  for (size_t i = 0; i < input.items().size(); ++i) {
    if (equal(runtime, input.items()[i], bound.value(0))) {
      return Value::integer(static_cast<int64_t>(i));
    }
  }
  template_failed("the value is not in the list");
}

Value list_count(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("count", arguments, {"value"});
  int64_t count = 0;
  for (const Value& item : input.items()) count += equal(runtime, item, bound.value(0)) ? 1 : 0;
  return Value::integer(count);
}

Value map_get(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("get", arguments, {"key", "default"});
  const Value* found = input.find(runtime, bound.value(0));
  return found != nullptr ? *found : bound.value_or(1, Value::none());
}

template <typename Pick>
Value view(Runtime& runtime, const Value& input, const Pick& pick) {
  TemplateItems items;
  items.reserve(input.entries().size());
  for (const auto& entry : input.entries()) items.push_back(pick(entry));
  return Value::sequence(runtime, SequenceKind::kView, std::move(items));
}

Value map_items(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("items", arguments, {});
  return view(runtime, input, [&](const auto& entry) {
    return Value::sequence(runtime, SequenceKind::kTuple, {entry.first, entry.second});
  });
}

Value map_keys(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("keys", arguments, {});
  return view(runtime, input, [](const auto& entry) { return entry.first; });
}

Value map_values(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("values", arguments, {});
  return view(runtime, input, [](const auto& entry) { return entry.second; });
}

Value map_copy(Runtime& /*runtime*/, const Value& input, const Arguments& arguments) {
  check_arguments("copy", arguments, {});
  return input;
}

constexpr NamedBuiltin kListMethods[] = {
    {"count", &list_count},
    {"index", &list_index},
};

constexpr NamedBuiltin kMapMethods[] = {
    {"copy", &map_copy}, {"get", &map_get},       {"items", &map_items},
    {"keys", &map_keys}, {"values", &map_values},
};

}  // namespace

std::span<const NamedBuiltin> list_methods() { return kListMethods; }
std::span<const NamedBuiltin> map_methods() { return kMapMethods; }

}  // namespace switchyard
