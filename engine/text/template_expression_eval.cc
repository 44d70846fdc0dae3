// Computes expressions in a scope. See the header.
#include "engine/text/template_expression_eval.h"

#include "engine/text/template_builtins.h"
#include "engine/text/template_operators.h"
#include "engine/text/template_print.h"

namespace switchyard {

using Value = TemplateValue;

struct TemplateExpressionEvaluator::Visitor {
  TemplateExpressionEvaluator& evaluator;
  TemplateRuntime& runtime;
  const TemplateScope& scope;
  int line;

  [[nodiscard]] Value of(const ExpressionPointer& expression) const {
    Value value = evaluator.evaluate(*expression, scope);
    evaluator.at_line(line);  // what fails from here on is this node
    return value;
  }
  [[nodiscard]] Value of_optional(const ExpressionPointer& expression) const {
    return expression == nullptr ? Value::none() : of(expression);
  }

  Value operator()(const LiteralExpression& node) const { return node.value; }

  Value operator()(const NameExpression& node) const { return evaluator.named(node.name, scope); }

  Value operator()(const SequenceExpression& node) const {
    TemplateItems items;
    items.reserve(node.items.size());
    for (const ExpressionPointer& item : node.items) items.push_back(of(item));
    return Value::sequence(runtime, node.kind, std::move(items));
  }

  Value operator()(const MapExpression& node) const {
    TemplateEntries entries;
    for (const auto& [key, value] : node.entries) {
      Value made_key = of(key);
      entries.emplace_back(std::move(made_key), of(value));
    }
    return Value::map(runtime, std::move(entries));
  }

  Value operator()(const AttributeExpression& node) const {
    return attribute_of(runtime, of(node.object), node.name);
  }

  Value operator()(const SubscriptExpression& node) const {
    const Value object = of(node.object);
    return element_of(runtime, object, of(node.index));
  }

  Value operator()(const SliceExpression& node) const {
    const Value object = of(node.object);
    SliceBounds bounds;
    bounds.start = of_optional(node.start);
    bounds.stop = of_optional(node.stop);
    bounds.step = of_optional(node.step);
    return slice_of(runtime, object, bounds);
  }

  Value operator()(const CallExpression& node) const {
    const Value callee = of(node.callee);
    const TemplateArguments arguments = evaluator.arguments(node.arguments, scope);
    evaluator.at_line(line);
    callee.require_defined();
    if (!callee.is(Value::Kind::kObject)) {
      template_failed("'", callee.type_name(), "' object is not callable");
    }
    return callee.as_object().call(runtime, arguments);
  }

  Value operator()(const FilterExpression& node) const {
    const Value input = of(node.input);
    const TemplateArguments arguments = evaluator.arguments(node.arguments, scope);
    evaluator.at_line(line);
    return apply_filter(runtime, node.name, input, arguments);
  }

  Value operator()(const TestExpression& node) const {
    const Value input = of(node.input);
    const TemplateArguments arguments = evaluator.arguments(node.arguments, scope);
    evaluator.at_line(line);
    return Value::boolean(apply_test(runtime, node.name, input, arguments));
  }

  Value operator()(const UnaryExpression& node) const {
    const Value operand = of(node.operand);
    if (node.operation == UnaryExpression::Operator::kNot) return Value::boolean(!operand.truth());
    const Value negative = negated(operand);
    return node.operation == UnaryExpression::Operator::kMinus ? negative : negated(negative);
  }

  Value operator()(const BinaryExpression& node) const {
    const Value left = of(node.left);
    return apply_binary(runtime, node.operation, left, of(node.right));
  }

  // As in Python, the value that decided is the result.
  Value operator()(const LogicalExpression& node) const {
    Value left = of(node.left);
    const bool decided = left.truth() == (node.operation == LogicalExpression::Operator::kOr);
    return decided ? left : of(node.right);
  }

  Value operator()(const ConcatExpression& node) const {
    TemplateTextBuilder out(runtime);
    for (const ExpressionPointer& part : node.parts) print_text(runtime, of(part), out);
    return Value::text(std::move(out));
  }

  Value operator()(const CompareExpression& node) const {
    Value left = of(node.first);
    for (const auto& [comparison, operand] : node.rest) {
      Value right = of(operand);
      if (!compare(runtime, comparison, left, right)) return Value::boolean(false);
      left = std::move(right);
    }
    return Value::boolean(true);
  }

  Value operator()(const ConditionalExpression& node) const {
    if (of(node.condition).truth()) return of(node.value);
    if (node.otherwise != nullptr) return of(node.otherwise);
    return Value::undefined("the condition was false and there is no else");
  }
};

TemplateValue TemplateExpressionEvaluator::evaluate(const TemplateExpression& expression,
                                                    const TemplateScope& scope) {
  const TemplateRuntime::Nesting nesting(runtime_);
  line_ = expression.line;
  runtime_.step();
  return std::visit(Visitor{*this, runtime_, scope, expression.line}, expression.node);
}

TemplateValue TemplateExpressionEvaluator::filtered(TemplateValue input,
                                                    const ExpressionList& filters,
                                                    const TemplateScope& scope) {
  for (const ExpressionPointer& filter : filters) {
    line_ = filter->line;
    const auto& node = std::get<FilterExpression>(filter->node);
    input = apply_filter(runtime_, node.name, input, arguments(node.arguments, scope));
  }
  return input;
}

TemplateArguments TemplateExpressionEvaluator::arguments(const CallArguments& arguments,
                                                         const TemplateScope& scope) {
  TemplateArguments evaluated;
  for (const ExpressionPointer& argument : arguments.positional) {
    evaluated.positional.push_back(evaluate(*argument, scope));
  }
  for (const auto& [name, argument] : arguments.named) {
    evaluated.named.emplace_back(name, evaluate(*argument, scope));
  }
  return evaluated;
}

TemplateValue TemplateExpressionEvaluator::named(const std::string& name,
                                                 const TemplateScope& scope) {
  if (const Value* found = scope.find(name)) return *found;
  if (const TemplateBuiltin function = find_builtin(template_functions(), name)) {
    return bind_method(runtime_, Value(), function);
  }
  return Value::undefined("'" + name + "' is undefined");
}

}  // namespace switchyard
