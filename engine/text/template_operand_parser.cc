// Parses the operands of an expression: literals, displays, names, and what may follow them
// (attributes, subscripts, calls, filters, tests).
#include <charconv>
#include <cstdlib>

#include "engine/text/template_expression_parser.h"

namespace switchyard {

namespace {

using Kind = TemplateToken::Kind;

}  // namespace

ExpressionPointer TemplateExpressionParser::primary() {
  switch (stream_.current().kind) {
    case Kind::kName:
      return name();
    case Kind::kString:
      return string_literal();
    case Kind::kInteger:
      return integer_literal();
    case Kind::kFloat: {
      const TemplateToken& token = stream_.next();
      const double value = std::strtod(token.text.c_str(), nullptr);
      return make(token.line, LiteralExpression{TemplateValue::real(value)});
    }
    default:
      if (stream_.sees_operator("(")) return parenthesised();
      if (stream_.sees_operator("[")) return list_display();
      if (stream_.sees_operator("{")) return map_display();
      stream_.unexpected("an expression");
  }
}

ExpressionPointer TemplateExpressionParser::name() {
  const TemplateToken& token = stream_.next();
  const auto literal = [&](TemplateValue value) {
    return make(token.line, LiteralExpression{std::move(value)});
  };
  if (token.text == "true" || token.text == "True") return literal(TemplateValue::boolean(true));
  if (token.text == "false" || token.text == "False") return literal(TemplateValue::boolean(false));
  if (token.text == "none" || token.text == "None") return literal(TemplateValue::none());
  return make(token.line, NameExpression{token.text});
}

ExpressionPointer TemplateExpressionParser::integer_literal() {
  const TemplateToken& token = stream_.next();
  std::string_view digits = token.text;
  int base = 10;
  if (digits.size() > 2 && digits[0] == '0') {
    const char marker = static_cast<char>(digits[1] | 0x20);
    base = marker == 'x' ? 16 : marker == 'o' ? 8 : marker == 'b' ? 2 : 10;
    if (base != 10) digits.remove_prefix(2);
  }
  int64_t value = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (read.ec != std::errc()) {
    template_syntax(token.line, "integer ", token.text, " does not fit 64 signed bits");
  }
  return make(token.line, LiteralExpression{TemplateValue::integer(value)});
}

// Adjacent strings are one.
ExpressionPointer TemplateExpressionParser::string_literal() {
  const int line = stream_.line();
  std::string value;
  while (stream_.sees(Kind::kString)) value += stream_.next().text;
  return make(line, LiteralExpression{TemplateValue::constant_text(std::move(value))});
}

ExpressionPointer TemplateExpressionParser::parenthesised() {
  const int line = stream_.next().line;
  if (stream_.skip_operator(")")) {
    return make(line, SequenceExpression{SequenceKind::kTuple, {}});
  }
  ExpressionPointer value = expression_or_tuple();
  stream_.expect_operator(")");
  return value;
}

ExpressionPointer TemplateExpressionParser::list_display() {
  const int line = stream_.next().line;
  SequenceExpression node{SequenceKind::kList, {}};
  while (!stream_.sees_operator("]")) {
    if (!node.items.empty()) stream_.expect_operator(",");
    if (stream_.sees_operator("]")) break;
    node.items.push_back(expression());
  }
  stream_.expect_operator("]");
  return make(line, std::move(node));
}

ExpressionPointer TemplateExpressionParser::map_display() {
  const int line = stream_.next().line;
  MapExpression node;
  while (!stream_.sees_operator("}")) {
    if (!node.entries.empty()) stream_.expect_operator(",");
    if (stream_.sees_operator("}")) break;
    ExpressionPointer key = expression();
    stream_.expect_operator(":");
    node.entries.emplace_back(std::move(key), expression());
  }
  stream_.expect_operator("}");
  return make(line, std::move(node));
}

ExpressionPointer TemplateExpressionParser::postfixed(ExpressionPointer object) {
  while (true) {
    const int line = stream_.line();
    if (stream_.skip_operator(".")) {
      if (stream_.sees(Kind::kInteger)) {
        object = make(line, SubscriptExpression{std::move(object), integer_literal()});
      } else {
        const TemplateToken& attribute = stream_.expect(Kind::kName, "an attribute name");
        object = make(line, AttributeExpression{std::move(object), attribute.text});
      }
    } else if (stream_.skip_operator("[")) {
      object = subscript(std::move(object));
    } else if (stream_.sees_operator("(")) {
      object = make(line, CallExpression{std::move(object), call_arguments()});
    } else {
      return object;
    }
    stream_.count_link();
  }
}

ExpressionPointer TemplateExpressionParser::subscript(ExpressionPointer object) {
  const int line = stream_.line();
  const auto bound = [this]() -> ExpressionPointer {
    const bool omitted = stream_.sees_operator(":") || stream_.sees_operator("]");
    return omitted ? nullptr : expression();
  };
  ExpressionPointer start = bound();
  if (!stream_.skip_operator(":")) {
    if (start == nullptr || !stream_.skip_operator("]")) stream_.unexpected("one index and ']'");
    return make(line, SubscriptExpression{std::move(object), std::move(start)});
  }
  SliceExpression node{std::move(object), std::move(start), bound(), nullptr};
  if (stream_.skip_operator(":")) node.step = bound();
  stream_.expect_operator("]");
  return make(line, std::move(node));
}

std::string TemplateExpressionParser::dotted_name() {
  std::string name = stream_.expect(Kind::kName, "a name").text;
  while (stream_.skip_operator(".")) name += "." + stream_.expect(Kind::kName, "a name").text;
  return name;
}

ExpressionPointer TemplateExpressionParser::filter(ExpressionPointer input) {
  const int line = stream_.line();
  FilterExpression node{std::move(input), dotted_name(), {}};
  if (stream_.sees_operator("(")) node.arguments = call_arguments();
  return make(line, std::move(node));
}

ExpressionPointer TemplateExpressionParser::bare_filter() { return filter(nullptr); }

ExpressionList TemplateExpressionParser::piped_filters() {
  ExpressionList filters;
  while (stream_.skip_operator("|")) filters.push_back(bare_filter());
  return filters;
}

// `is name`, `is not name`, with arguments in brackets or one argument without.
ExpressionPointer TemplateExpressionParser::test(ExpressionPointer input) {
  const int line = stream_.line();
  const bool negated = stream_.skip_name("not");
  TestExpression node{std::move(input), dotted_name(), {}};
  const TemplateToken& token = stream_.current();
  const bool goes_on = token.is_name("else") || token.is_name("or") || token.is_name("and");
  if (token.is_operator("(")) {
    node.arguments = call_arguments();
  } else if (token.is_name("is")) {
    template_syntax(token.line, "tests can't be chained with 'is'");
  } else if (!goes_on && (token.kind == Kind::kName || token.kind == Kind::kString ||
                          token.kind == Kind::kInteger || token.kind == Kind::kFloat ||
                          token.is_operator("[") || token.is_operator("{"))) {
    node.arguments.positional.push_back(postfixed(primary()));
  }
  ExpressionPointer value = make(line, std::move(node));
  if (!negated) return value;
  return make(line, UnaryExpression{UnaryExpression::Operator::kNot, std::move(value)});
}

CallArguments TemplateExpressionParser::call_arguments() {
  stream_.expect_operator("(");
  CallArguments arguments;
  while (!stream_.sees_operator(")")) {
    if (stream_.sees_operator("*") || stream_.sees_operator("**")) {
      template_syntax(stream_.line(), "unpacked arguments (* and **) are not supported");
    }
    if (stream_.sees(Kind::kName) && stream_.following().is_operator("=")) {
      std::string name = stream_.next().text;
      stream_.next();
      arguments.named.emplace_back(std::move(name), expression());
    } else if (!arguments.named.empty()) {
      template_syntax(stream_.line(), "a positional argument follows a named one");
    } else {
      arguments.positional.push_back(expression());
    }
    if (!stream_.skip_operator(",")) break;
  }
  stream_.expect_operator(")");
  return arguments;
}

}  // namespace switchyard
