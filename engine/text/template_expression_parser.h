// Parses the expressions of a template, with Jinja's precedence.
#pragma once

#include "engine/text/template_ast.h"
#include "engine/text/template_token_stream.h"

namespace switchyard {

class TemplateExpressionParser {
 public:
  // Borrows the stream, which must outlive it.
  explicit TemplateExpressionParser(TemplateTokenStream& stream) : stream_(stream) {}

  // A whole expression; `a if b else c` included.
  ExpressionPointer expression();
  // Without a conditional, for places where `if` goes on: {% for x in xs if x %}.
  ExpressionPointer unconditional();
  // One expression, or a tuple when commas follow.
  ExpressionPointer expression_or_tuple();
  ExpressionPointer unconditional_or_tuple();
  // `| name(arguments) | ...` without an input, zero or more of them.
  ExpressionList piped_filters();
  // `name(arguments)` without an input: the head of {% filter %}.
  ExpressionPointer bare_filter();

 private:
  using Level = ExpressionPointer (TemplateExpressionParser::*)();

  ExpressionPointer logical_or();
  ExpressionPointer logical_and();
  ExpressionPointer logical_not();
  ExpressionPointer comparison();
  ExpressionPointer sum();
  ExpressionPointer concatenation();
  ExpressionPointer product();
  ExpressionPointer power();
  ExpressionPointer filtered();  // unary, then filters and tests
  ExpressionPointer unary();     // sign, or primary with its postfixes
  ExpressionPointer primary();
  ExpressionPointer name();
  ExpressionPointer integer_literal();
  ExpressionPointer string_literal();
  ExpressionPointer parenthesised();
  ExpressionPointer list_display();
  ExpressionPointer map_display();
  ExpressionPointer postfixed(ExpressionPointer object);
  ExpressionPointer subscript(ExpressionPointer object);
  ExpressionPointer filter(ExpressionPointer input);
  ExpressionPointer test(ExpressionPointer input);
  ExpressionPointer tuple_of(Level element);
  CallArguments call_arguments();
  std::string dotted_name();

  template <typename Node>
  static ExpressionPointer make(int line, Node node) {
    return std::make_unique<const TemplateExpression>(TemplateExpression{line, std::move(node)});
  }
  TemplateTokenStream& stream_;
};

}  // namespace switchyard
