// Python's operators on values. Reaching into values is in template_access.cc.
#include "engine/text/template_operators.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "engine/text/template_builtins.h"
#include "engine/text/template_unicode.h"

namespace switchyard {

namespace {

using Kind = TemplateValue::Kind;

constexpr std::string_view kSpellings[] = {"+", "-", "*", "/", "//", "%", "**"};

[[noreturn]] void unsupported(BinaryOperator operation,
                              const TemplateValue& left,
                              const TemplateValue& right) {
  template_failed("unsupported operand types for ", kSpellings[static_cast<size_t>(operation)],
                  ": '", left.type_name(), "' and '", right.type_name(), "'");
}

[[noreturn]] void overflow() { template_failed("an integer does not fit 64 signed bits"); }

int64_t floor_divided(int64_t left, int64_t right) {
  if (left == INT64_MIN && right == -1) overflow();
  const int64_t quotient = left / right;
  return left % right != 0 && (left < 0) != (right < 0) ? quotient - 1 : quotient;
}

int64_t floor_remainder(int64_t left, int64_t right) {
  if (right == -1) return 0;
  const int64_t remainder = left % right;
  return remainder != 0 && (remainder < 0) != (right < 0) ? remainder + right : remainder;
}

int64_t integer_power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) overflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) overflow();
  }
  return result;
}

double real_power(double base, double exponent) {
  if (base == 0 && exponent < 0) template_failed("0 can't be raised to a negative power");
  if (base < 0 && std::floor(exponent) != exponent) {
    template_failed("a negative number can't be raised to a fraction");
  }
  const double result = std::pow(base, exponent);
  if (std::isinf(result) && !std::isinf(base) && !std::isinf(exponent)) {
    template_failed("a power is out of range");
  }
  return result;
}

// CPython's float_divmod.
struct RealDivision {
  double quotient;
  double remainder;
};
RealDivision divided(double left, double right) {
  double remainder = std::fmod(left, right);
  double quotient = (left - remainder) / right;
  if (remainder == 0) {
    remainder = std::copysign(0.0, right);
  } else if ((right < 0) != (remainder < 0)) {
    remainder += right;
    quotient -= 1;
  }
  if (quotient == 0) return {std::copysign(0.0, left / right), remainder};
  double floored = std::floor(quotient);
  if (quotient - floored > 0.5) floored += 1;
  return {floored, remainder};
}

TemplateValue integer_arithmetic(BinaryOperator operation, int64_t left, int64_t right) {
  int64_t result = 0;
  switch (operation) {
    case BinaryOperator::kAdd:
      if (__builtin_add_overflow(left, right, &result)) overflow();
      return TemplateValue::integer(result);
    case BinaryOperator::kSubtract:
      if (__builtin_sub_overflow(left, right, &result)) overflow();
      return TemplateValue::integer(result);
    case BinaryOperator::kMultiply:
      if (__builtin_mul_overflow(left, right, &result)) overflow();
      return TemplateValue::integer(result);
    case BinaryOperator::kDivide:
      return TemplateValue::real(static_cast<double>(left) / static_cast<double>(right));
    case BinaryOperator::kFloorDivide:
      return TemplateValue::integer(floor_divided(left, right));
    case BinaryOperator::kModulo:
      return TemplateValue::integer(floor_remainder(left, right));
    case BinaryOperator::kPower:
      break;
  }
  if (right >= 0) return TemplateValue::integer(integer_power(left, right));
  return TemplateValue::real(real_power(static_cast<double>(left), static_cast<double>(right)));
}

TemplateValue real_arithmetic(BinaryOperator operation, double left, double right) {
  switch (operation) {
    case BinaryOperator::kAdd:
      return TemplateValue::real(left + right);
    case BinaryOperator::kSubtract:
      return TemplateValue::real(left - right);
    case BinaryOperator::kMultiply:
      return TemplateValue::real(left * right);
    case BinaryOperator::kDivide:
      return TemplateValue::real(left / right);
    case BinaryOperator::kFloorDivide:
      return TemplateValue::real(divided(left, right).quotient);
    case BinaryOperator::kModulo:
      return TemplateValue::real(divided(left, right).remainder);
    case BinaryOperator::kPower:
      break;
  }
  return TemplateValue::real(real_power(left, right));
}

TemplateValue number_arithmetic(BinaryOperator operation,
                                const TemplateValue& left,
                                const TemplateValue& right) {
  const bool divides = operation == BinaryOperator::kDivide ||
                       operation == BinaryOperator::kFloorDivide ||
                       operation == BinaryOperator::kModulo;
  if (divides && right.as_real() == 0) template_failed("division by zero");
  if (left.is_integral() && right.is_integral()) {
    return integer_arithmetic(operation, left.as_integer(), right.as_integer());
  }
  return real_arithmetic(operation, left.as_real(), right.as_real());
}

bool can_grow(const TemplateValue& value) {
  return value.is_sequence(SequenceKind::kList) || value.is_sequence(SequenceKind::kTuple);
}

TemplateValue joined(TemplateRuntime& runtime,
                     const TemplateValue& left,
                     const TemplateValue& right) {
  if (left.is_text() && right.is_text()) {
    TemplateTextBuilder out(runtime);
    out.append(left.as_text());
    out.append(right.as_text());
    return TemplateValue::text(std::move(out));
  }
  if (!can_grow(left) || !right.is_sequence(left.sequence_kind())) {
    unsupported(BinaryOperator::kAdd, left, right);
  }
  // Held while the elements are gathered, then again by the list itself.
  const size_t count = left.items().size() + right.items().size();
  const TemplateCharge gathered = runtime.hold(count * sizeof(TemplateValue));
  TemplateItems items = left.items();
  items.insert(items.end(), right.items().begin(), right.items().end());
  return TemplateValue::sequence(runtime, left.sequence_kind(), std::move(items));
}

TemplateValue repeated(TemplateRuntime& runtime, const TemplateValue& value, int64_t times) {
  const size_t count = times > 0 ? static_cast<size_t>(times) : 0;
  if (value.is_text()) {
    const std::string& piece = value.as_text();
    size_t bytes = 0;
    if (__builtin_mul_overflow(piece.size(), count, &bytes)) bytes = SIZE_MAX;
    runtime.admit_text(bytes);
    runtime.touch(bytes);
    std::string text;
    text.reserve(bytes);
    for (size_t i = 0; i < count && !piece.empty(); ++i) text += piece;
    return TemplateValue::text(runtime, std::move(text));
  }
  size_t bytes = 0;
  const size_t piece_bytes = value.items().size() * sizeof(TemplateValue);
  if (__builtin_mul_overflow(piece_bytes, count, &bytes)) bytes = SIZE_MAX;
  const TemplateCharge gathered = runtime.hold(bytes);
  TemplateItems items;
  for (size_t i = 0; i < count && bytes > 0; ++i) {
    items.insert(items.end(), value.items().begin(), value.items().end());
  }
  return TemplateValue::sequence(runtime, value.sequence_kind(), std::move(items));
}

}  // namespace

TemplateValue apply_binary(TemplateRuntime& runtime,
                           BinaryOperator operation,
                           const TemplateValue& left,
                           const TemplateValue& right) {
  left.require_defined();
  if (operation == BinaryOperator::kModulo && left.is_text()) {
    return format_percent(runtime, left.as_text(), right);
  }
  right.require_defined();
  if (left.is_number() && right.is_number()) return number_arithmetic(operation, left, right);
  if (operation == BinaryOperator::kAdd) return joined(runtime, left, right);
  if (operation == BinaryOperator::kMultiply) {
    if ((left.is_text() || can_grow(left)) && right.is_integral()) {
      return repeated(runtime, left, right.as_integer());
    }
    if ((right.is_text() || can_grow(right)) && left.is_integral()) {
      return repeated(runtime, right, left.as_integer());
    }
  }
  unsupported(operation, left, right);
}

TemplateValue negated(const TemplateValue& value) {
  value.require_defined();
  if (value.is(Kind::kFloat)) return TemplateValue::real(-value.as_real());
  if (!value.is_integral()) template_failed("a '", value.type_name(), "' has no sign");
  return integer_arithmetic(BinaryOperator::kSubtract, 0, value.as_integer());
}

bool contains(TemplateRuntime& runtime,
              const TemplateValue& container,
              const TemplateValue& sought) {
  switch (container.kind()) {
    case Kind::kUndefined:
      return false;
    case Kind::kText:
      sought.require_defined();
      if (!sought.is_text()) {
        template_failed("'in <string>' requires string as left operand, not ", sought.type_name());
      }
      runtime.touch(container.as_text().size());
      return find_text(container.as_text(), sought.as_text()) != std::string::npos;
    case Kind::kSequence:
      return std::any_of(container.items().begin(), container.items().end(),
                         [&](const auto& item) { return equal(runtime, item, sought); });
    case Kind::kMap:
      return container.find(runtime, sought) != nullptr;
    default:
      template_failed("argument of type '", container.type_name(), "' is not iterable");
  }
}

bool compare(TemplateRuntime& runtime,
             Comparison comparison,
             const TemplateValue& left,
             const TemplateValue& right) {
  switch (comparison) {
    case Comparison::kEqual:
      return equal(runtime, left, right);
    case Comparison::kNotEqual:
      return !equal(runtime, left, right);
    case Comparison::kLess:
      return order(runtime, left, right) < 0;
    case Comparison::kLessOrEqual:
      return order(runtime, left, right) <= 0;
    case Comparison::kGreater:
      return order(runtime, left, right) > 0;
    case Comparison::kGreaterOrEqual:
      return order(runtime, left, right) >= 0;
    case Comparison::kIn:
      return contains(runtime, right, left);
    case Comparison::kNotIn:
      break;
  }
  return !contains(runtime, right, left);
}

}  // namespace switchyard
