// The tests of Jinja: {% if value is name %}.
#include "engine/text/template_builtins.h"
#include "engine/text/template_operators.h"
#include "engine/text/template_print.h"
#include "engine/text/template_unicode.h"

namespace switchyard {

namespace {

using Arguments = TemplateArguments;
using Kind = TemplateValue::Kind;
using Runtime = TemplateRuntime;
using Value = TemplateValue;

// A test of the value alone.
template <bool (*holds)(const Value&)>
Value plain(Runtime& /*runtime*/, const Value& input, const Arguments& arguments) {
  check_arguments("test", arguments, {});
  return Value::boolean(holds(input));
}

template <Kind kind>
bool has_kind(const Value& value) {
  return value.is(kind);
}
bool is_defined(const Value& value) { return !value.is_undefined(); }
bool is_true(const Value& value) { return value.is(Kind::kBoolean) && value.as_boolean(); }
bool is_false(const Value& value) { return value.is(Kind::kBoolean) && !value.as_boolean(); }
bool is_number(const Value& value) { return value.is_number(); }
bool is_callable(const Value& value) {
  return value.is(Kind::kObject) && value.as_object().callable();
}
bool is_iterable(const Value& value) {
  return value.is_undefined() || value.is_text() || value.is(Kind::kSequence) ||
         value.is(Kind::kMap);
}
// What has a length and elements.
bool is_sequence(const Value& value) {
  if (value.is(Kind::kSequence)) return value.sequence_kind() <= SequenceKind::kRange;
  return value.is_text() || value.is(Kind::kMap);
}
bool is_escaped(const Value& /*value*/) { return false; }

template <bool (*holds)(std::string_view)>
Value text_case(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("test", arguments, {});
  return Value::boolean(holds(to_text(runtime, input).as_text()));
}

Value divisible(Runtime& runtime, const Value& input, int64_t divisor, int64_t remainder) {
  const Value left = apply_binary(runtime, BinaryOperator::kModulo, input, Value::integer(divisor));
  return Value::boolean(equal(runtime, left, Value::integer(remainder)));
}

Value test_odd(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("odd", arguments, {});
  return divisible(runtime, input, 2, 1);
}
Value test_even(Runtime& runtime, const Value& input, const Arguments& arguments) {
  check_arguments("even", arguments, {});
  return divisible(runtime, input, 2, 0);
}
Value test_divisibleby(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return divisible(runtime, input, BoundArguments("divisibleby", arguments, {"num"}).integer(0), 0);
}

template <Comparison comparison>
Value compares(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("test", arguments, {"other"});
  return Value::boolean(compare(runtime, comparison, input, bound.value(0)));
}

// The same object: of our values, the ones that Python has only one of.
Value test_sameas(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("sameas", arguments, {"other"});
  const Value& other = bound.value(0);
  const bool singleton = input.is_none() || input.is(Kind::kBoolean) || input.is(Kind::kObject);
  return Value::boolean(singleton && input.kind() == other.kind() && equal(runtime, input, other));
}

Value test_filter(Runtime& /*runtime*/, const Value& input, const Arguments& arguments) {
  check_arguments("filter", arguments, {});
  return Value::boolean(input.is_text() &&
                        (find_builtin(text_filters(), input.as_text()) != nullptr ||
                         find_builtin(sequence_filters(), input.as_text()) != nullptr));
}
Value test_test(Runtime& /*runtime*/, const Value& input, const Arguments& arguments) {
  check_arguments("test", arguments, {});
  return Value::boolean(input.is_text() &&
                        find_builtin(template_tests(), input.as_text()) != nullptr);
}

constexpr NamedBuiltin kTests[] = {
    {"!=", &compares<Comparison::kNotEqual>},
    {"<", &compares<Comparison::kLess>},
    {"<=", &compares<Comparison::kLessOrEqual>},
    {"==", &compares<Comparison::kEqual>},
    {">", &compares<Comparison::kGreater>},
    {">=", &compares<Comparison::kGreaterOrEqual>},
    {"boolean", &plain<&has_kind<Kind::kBoolean>>},
    {"callable", &plain<&is_callable>},
    {"defined", &plain<&is_defined>},
    {"divisibleby", &test_divisibleby},
    {"eq", &compares<Comparison::kEqual>},
    {"equalto", &compares<Comparison::kEqual>},
    {"escaped", &plain<&is_escaped>},
    {"even", &test_even},
    {"false", &plain<&is_false>},
    {"filter", &test_filter},
    {"float", &plain<&has_kind<Kind::kFloat>>},
    {"ge", &compares<Comparison::kGreaterOrEqual>},
    {"greaterthan", &compares<Comparison::kGreater>},
    {"gt", &compares<Comparison::kGreater>},
    {"in", &compares<Comparison::kIn>},
    {"integer", &plain<&has_kind<Kind::kInteger>>},
    {"iterable", &plain<&is_iterable>},
    {"le", &compares<Comparison::kLessOrEqual>},
    {"lessthan", &compares<Comparison::kLess>},
    {"lower", &text_case<&is_lower_case>},
    {"lt", &compares<Comparison::kLess>},
    {"mapping", &plain<&has_kind<Kind::kMap>>},
    {"ne", &compares<Comparison::kNotEqual>},
    {"none", &plain<&has_kind<Kind::kNone>>},
    {"number", &plain<&is_number>},
    {"odd", &test_odd},
    {"sameas", &test_sameas},
    {"sequence", &plain<&is_sequence>},
    {"string", &plain<&has_kind<Kind::kText>>},
    {"test", &test_test},
    {"true", &plain<&is_true>},
    {"undefined", &plain<&has_kind<Kind::kUndefined>>},
    {"upper", &text_case<&is_upper_case>},
};

}  // namespace

std::span<const NamedBuiltin> template_tests() { return kTests; }

}  // namespace switchyard
