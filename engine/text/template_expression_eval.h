// Computes expressions in a scope. Statements are template_eval.h.
// One render, one thread; borrows the runtime and the parsed template.
#pragma once

#include "engine/text/template_ast.h"
#include "engine/text/template_scope.h"

namespace switchyard {

class TemplateExpressionEvaluator {
 public:
  explicit TemplateExpressionEvaluator(TemplateRuntime& runtime) : runtime_(runtime) {}

  // Throws TemplateError; line() then says where.
  TemplateValue evaluate(const TemplateExpression& expression, const TemplateScope& scope);
  // Applies filters that were parsed without an input, in order.
  TemplateValue filtered(TemplateValue input,
                         const ExpressionList& filters,
                         const TemplateScope& scope);

  void at_line(int line) { line_ = line; }
  [[nodiscard]] int line() const { return line_; }

 private:
  struct Visitor;

  TemplateArguments arguments(const CallArguments& arguments, const TemplateScope& scope);
  TemplateValue named(const std::string& name, const TemplateScope& scope);

  TemplateRuntime& runtime_;
  int line_ = 1;
};

}  // namespace switchyard
