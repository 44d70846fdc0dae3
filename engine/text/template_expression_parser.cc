// Parses the operators of an expression, from the loosest to the tightest; operands are in
// template_operand_parser.cc.
#include "engine/text/template_expression_parser.h"

#include <array>
#include <optional>

namespace switchyard {

namespace {

using Kind = TemplateToken::Kind;

struct SpelledComparison {
  std::string_view spelling;
  Comparison comparison;
};
constexpr std::array<SpelledComparison, 6> kComparisons = {{
    {"==", Comparison::kEqual},
    {"!=", Comparison::kNotEqual},
    {"<", Comparison::kLess},
    {"<=", Comparison::kLessOrEqual},
    {">", Comparison::kGreater},
    {">=", Comparison::kGreaterOrEqual},
}};

struct SpelledOperator {
  std::string_view spelling;
  BinaryOperator operation;
};
constexpr std::array<SpelledOperator, 2> kSums = {{
    {"+", BinaryOperator::kAdd},
    {"-", BinaryOperator::kSubtract},
}};
constexpr std::array<SpelledOperator, 4> kProducts = {{
    {"*", BinaryOperator::kMultiply},
    {"/", BinaryOperator::kDivide},
    {"//", BinaryOperator::kFloorDivide},
    {"%", BinaryOperator::kModulo},
}};

template <typename Table>
auto spelled(const Table& table, const TemplateToken& token) -> decltype(table.data()) {
  for (const auto& entry : table) {
    if (token.is_operator(entry.spelling)) return &entry;
  }
  return nullptr;
}

}  // namespace

ExpressionPointer TemplateExpressionParser::expression() {
  const TemplateTokenStream::Nesting nesting(stream_);
  ExpressionPointer value = logical_or();
  while (stream_.sees_name("if")) {
    const int line = stream_.next_link().line;
    ConditionalExpression node{std::move(value), logical_or(), nullptr};
    if (stream_.skip_name("else")) node.otherwise = expression();
    value = make(line, std::move(node));
  }
  return value;
}

ExpressionPointer TemplateExpressionParser::unconditional() {
  const TemplateTokenStream::Nesting nesting(stream_);
  return logical_or();
}

ExpressionPointer TemplateExpressionParser::expression_or_tuple() {
  return tuple_of(&TemplateExpressionParser::expression);
}

ExpressionPointer TemplateExpressionParser::unconditional_or_tuple() {
  return tuple_of(&TemplateExpressionParser::unconditional);
}

ExpressionPointer TemplateExpressionParser::tuple_of(Level element) {
  const int line = stream_.line();
  ExpressionPointer first = (this->*element)();
  if (!stream_.sees_operator(",")) return first;
  SequenceExpression tuple{SequenceKind::kTuple, {}};
  tuple.items.push_back(std::move(first));
  while (stream_.skip_operator(",")) {
    if (stream_.sees(Kind::kOutputEnd) || stream_.sees(Kind::kBlockEnd) ||
        stream_.sees_operator(")")) {
      break;
    }
    tuple.items.push_back((this->*element)());
  }
  return make(line, std::move(tuple));
}

ExpressionPointer TemplateExpressionParser::logical_or() {
  ExpressionPointer left = logical_and();
  while (stream_.sees_name("or")) {
    const int line = stream_.next_link().line;
    left = make(
        line, LogicalExpression{LogicalExpression::Operator::kOr, std::move(left), logical_and()});
  }
  return left;
}

ExpressionPointer TemplateExpressionParser::logical_and() {
  ExpressionPointer left = logical_not();
  while (stream_.sees_name("and")) {
    const int line = stream_.next_link().line;
    left = make(
        line, LogicalExpression{LogicalExpression::Operator::kAnd, std::move(left), logical_not()});
  }
  return left;
}

ExpressionPointer TemplateExpressionParser::logical_not() {
  if (!stream_.sees_name("not")) return comparison();
  const TemplateTokenStream::Nesting nesting(stream_);
  const int line = stream_.next().line;
  return make(line, UnaryExpression{UnaryExpression::Operator::kNot, logical_not()});
}

ExpressionPointer TemplateExpressionParser::comparison() {
  const int line = stream_.line();
  ExpressionPointer first = sum();
  CompareExpression node;
  while (true) {
    std::optional<Comparison> comparison;
    if (const auto* entry = spelled(kComparisons, stream_.current())) {
      comparison = entry->comparison;
    } else if (stream_.sees_name("in")) {
      comparison = Comparison::kIn;
    } else if (stream_.sees_name("not") && stream_.following().is_name("in")) {
      stream_.next();
      comparison = Comparison::kNotIn;
    }
    if (!comparison) break;
    stream_.next();
    node.rest.emplace_back(*comparison, sum());
  }
  if (node.rest.empty()) return first;
  node.first = std::move(first);
  return make(line, std::move(node));
}

ExpressionPointer TemplateExpressionParser::sum() {
  ExpressionPointer left = concatenation();
  while (true) {
    const auto* entry = spelled(kSums, stream_.current());
    if (entry == nullptr) return left;
    const int line = stream_.next_link().line;
    left = make(line, BinaryExpression{entry->operation, std::move(left), concatenation()});
  }
}

ExpressionPointer TemplateExpressionParser::concatenation() {
  const int line = stream_.line();
  ExpressionPointer first = product();
  if (!stream_.sees_operator("~")) return first;
  ConcatExpression node;
  node.parts.push_back(std::move(first));
  while (stream_.skip_operator("~")) node.parts.push_back(product());
  return make(line, std::move(node));
}

ExpressionPointer TemplateExpressionParser::product() {
  ExpressionPointer left = power();
  while (true) {
    const auto* entry = spelled(kProducts, stream_.current());
    if (entry == nullptr) return left;
    const int line = stream_.next_link().line;
    left = make(line, BinaryExpression{entry->operation, std::move(left), power()});
  }
}

// Jinja's ** groups from the left, unlike Python's.
ExpressionPointer TemplateExpressionParser::power() {
  ExpressionPointer left = filtered();
  while (stream_.sees_operator("**")) {
    const int line = stream_.next_link().line;
    left = make(line, BinaryExpression{BinaryOperator::kPower, std::move(left), filtered()});
  }
  return left;
}

ExpressionPointer TemplateExpressionParser::filtered() {
  ExpressionPointer value = unary();
  while (true) {
    if (stream_.skip_operator("|")) {
      value = filter(std::move(value));
    } else if (stream_.skip_name("is")) {
      value = test(std::move(value));
    } else if (stream_.sees_operator("(")) {
      const int line = stream_.line();
      value = make(line, CallExpression{std::move(value), call_arguments()});
    } else {
      return value;
    }
    stream_.count_link();
  }
}

ExpressionPointer TemplateExpressionParser::unary() {
  const bool minus = stream_.sees_operator("-");
  if (!minus && !stream_.sees_operator("+")) return postfixed(primary());
  const TemplateTokenStream::Nesting nesting(stream_);
  const int line = stream_.next().line;
  using Operator = UnaryExpression::Operator;
  return postfixed(
      make(line, UnaryExpression{minus ? Operator::kMinus : Operator::kPlus, unary()}));
}

}  // namespace switchyard
