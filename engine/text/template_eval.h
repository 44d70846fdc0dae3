// Carries out the statements of a parsed template: writes text, runs loops, calls macros.
// One render, one thread; borrows the runtime and the parsed template.
#pragma once

#include <string>

#include "engine/text/template_ast.h"
#include "engine/text/template_expression_eval.h"
#include "engine/text/template_scope.h"

namespace switchyard {

class TemplateEvaluator {
 public:
  explicit TemplateEvaluator(TemplateRuntime& runtime) : runtime_(runtime), expressions_(runtime) {}

  // The rendered text. Throws TemplateError; line() then says where.
  std::string render(const TemplateBody& body, const TemplateScopePointer& globals);
  [[nodiscard]] int line() const { return expressions_.line(); }

 private:
  friend class TemplateMacro;
  enum class Flow { kOn, kBreak, kContinue };
  struct Visitor;

  Flow run(const TemplateBody& body, const TemplateScopePointer& scope, TemplateTextBuilder& out);
  Flow run_for(const ForStatement& loop,
               const TemplateScopePointer& scope,
               TemplateTextBuilder& out);
  // The elements that a loop visits: those that its condition lets through.
  TemplateValue visited(const ForStatement& loop, const TemplateScopePointer& scope);
  TemplateValue call_macro(const MacroStatement& macro,
                           const TemplateScopePointer& defined_in,
                           const TemplateArguments& arguments);
  void assign(const AssignTarget& target, TemplateValue value, TemplateScope& scope);

  TemplateRuntime& runtime_;
  TemplateExpressionEvaluator expressions_;
  int open_calls_ = 0;
};

}  // namespace switchyard
