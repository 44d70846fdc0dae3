// Carries out the statements of a parsed template. See the header.
#include "engine/text/template_eval.h"

#include <algorithm>
#include <utility>

#include "engine/text/template_builtins.h"
#include "engine/text/template_loop.h"
#include "engine/text/template_print.h"

namespace switchyard {

namespace {

using Value = TemplateValue;

TemplateScopePointer inner_scope(const TemplateScopePointer& outer) {
  return std::make_shared<TemplateScope>(outer);
}

}  // namespace

// A macro as a value. It sees the scope that it was defined in as that scope is when it is called;
// it does not keep that scope alive, which holds it.
class TemplateMacro : public TemplateObject {
 public:
  TemplateMacro(TemplateRuntime& runtime,
                TemplateEvaluator& evaluator,
                const MacroStatement& macro,
                const TemplateScopePointer& defined_in)
      : TemplateObject(runtime, 0), evaluator_(evaluator), macro_(macro), defined_in_(defined_in) {}

  [[nodiscard]] std::string_view type_name() const override { return "Macro"; }
  [[nodiscard]] bool callable() const override { return true; }

  Value attribute(TemplateRuntime& runtime, std::string_view name) override {
    return name == "name" ? Value::text(runtime, macro_.name) : Value();
  }

  Value call(TemplateRuntime& /*runtime*/, const TemplateArguments& arguments) override {
    const TemplateScopePointer scope = defined_in_.lock();
    if (scope == nullptr) {
      template_failed("macro '", macro_.name, "' was called after the block that defines it");
    }
    return evaluator_.call_macro(macro_, scope, arguments);
  }

 private:
  TemplateEvaluator& evaluator_;
  const MacroStatement& macro_;
  std::weak_ptr<TemplateScope> defined_in_;
};

struct TemplateEvaluator::Visitor {
  TemplateEvaluator& evaluator;
  TemplateRuntime& runtime;
  TemplateExpressionEvaluator& expressions;
  const TemplateScopePointer& scope;
  TemplateTextBuilder& out;

  [[nodiscard]] Value of(const ExpressionPointer& expression) const {
    return expressions.evaluate(*expression, *scope);
  }

  // What a block writes, as a value, less what its filters make of it.
  Value captured(const TemplateBody& body, const ExpressionList& filters, Flow& flow) const {
    TemplateTextBuilder written(runtime);
    flow = evaluator.run(body, inner_scope(scope), written);
    return expressions.filtered(Value::text(std::move(written)), filters, *scope);
  }

  Flow operator()(const TextStatement& node) const {
    out.append(node.text);
    return Flow::kOn;
  }

  Flow operator()(const OutputStatement& node) const {
    print_text(runtime, of(node.value), out);
    return Flow::kOn;
  }

  Flow operator()(const SetStatement& node) const {
    evaluator.assign(node.target, of(node.value), *scope);
    return Flow::kOn;
  }

  Flow operator()(const SetBlockStatement& node) const {
    Flow flow = Flow::kOn;
    Value value = captured(node.body, node.filters, flow);
    if (flow == Flow::kOn) evaluator.assign(node.target, std::move(value), *scope);
    return flow;
  }

  Flow operator()(const FilterStatement& node) const {
    Flow flow = Flow::kOn;
    const Value value = captured(node.body, node.filters, flow);
    if (flow == Flow::kOn) print_text(runtime, value, out);
    return flow;
  }

  Flow operator()(const IfStatement& node) const {
    for (const auto& [condition, body] : node.branches) {
      if (of(condition).truth()) return evaluator.run(body, scope, out);
    }
    return evaluator.run(node.otherwise, scope, out);
  }

  Flow operator()(const ForStatement& node) const { return evaluator.run_for(node, scope, out); }

  Flow operator()(const MacroStatement& node) const {
    scope->set(node.name,
               Value::object(std::make_shared<TemplateMacro>(runtime, evaluator, node, scope)));
    return Flow::kOn;
  }

  Flow operator()(const WithStatement& node) const {
    const TemplateScopePointer inner = inner_scope(scope);
    for (const auto& [target, value] : node.bindings) evaluator.assign(target, of(value), *inner);
    return evaluator.run(node.body, inner, out);
  }

  Flow operator()(const BreakStatement& /*node*/) const { return Flow::kBreak; }
  Flow operator()(const ContinueStatement& /*node*/) const { return Flow::kContinue; }
};

std::string TemplateEvaluator::render(const TemplateBody& body,
                                      const TemplateScopePointer& globals) {
  TemplateTextBuilder out(runtime_);
  run(body, globals, out);
  return std::move(out).take();
}

TemplateEvaluator::Flow TemplateEvaluator::run(const TemplateBody& body,
                                               const TemplateScopePointer& scope,
                                               TemplateTextBuilder& out) {
  const TemplateRuntime::Nesting nesting(runtime_);
  for (const TemplateStatement& statement : body) {
    runtime_.step();
    expressions_.at_line(statement.line);
    const Flow flow =
        std::visit(Visitor{*this, runtime_, expressions_, scope, out}, statement.node);
    if (flow != Flow::kOn) return flow;
  }
  return Flow::kOn;
}

TemplateValue TemplateEvaluator::visited(const ForStatement& loop,
                                         const TemplateScopePointer& scope) {
  Value elements = iterate(runtime_, expressions_.evaluate(*loop.iterable, *scope));
  if (loop.condition == nullptr) return elements;
  TemplateItems passing;
  for (const Value& item : elements.items()) {
    TemplateScope candidate(scope);
    assign(loop.target, item, candidate);
    if (expressions_.evaluate(*loop.condition, candidate).truth()) passing.push_back(item);
  }
  return Value::sequence(runtime_, SequenceKind::kIterator, std::move(passing));
}

TemplateEvaluator::Flow TemplateEvaluator::run_for(const ForStatement& loop,
                                                   const TemplateScopePointer& scope,
                                                   TemplateTextBuilder& out) {
  const auto state = std::make_shared<TemplateLoop>(runtime_, visited(loop, scope));
  if (state->done()) return run(loop.otherwise, inner_scope(scope), out);
  for (; !state->done(); state->advance()) {
    runtime_.step();
    const TemplateScopePointer iteration = inner_scope(scope);
    iteration->set("loop", Value::object(state));
    assign(loop.target, state->current(), *iteration);
    if (run(loop.body, iteration, out) == Flow::kBreak) break;
  }
  return Flow::kOn;
}

TemplateValue TemplateEvaluator::call_macro(const MacroStatement& macro,
                                            const TemplateScopePointer& defined_in,
                                            const TemplateArguments& arguments) {
  runtime_.admit_depth(open_calls_ + 1, "calls within calls");
  const size_t count = macro.parameters.size();
  if (arguments.positional.size() > count) {
    template_failed("macro '", macro.name, "' takes not more than ", count, " arguments");
  }
  const TemplateScopePointer scope = inner_scope(defined_in);
  std::vector<const Value*> given(count);
  for (size_t i = 0; i < arguments.positional.size(); ++i) given[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find_if(macro.parameters.begin(), macro.parameters.end(),
                                    [&name = name](const auto& p) { return p.first == name; });
    const size_t index = static_cast<size_t>(found - macro.parameters.begin());
    if (index == count) template_failed("macro '", macro.name, "' has no argument '", name, "'");
    if (given[index] != nullptr) template_failed("macro '", macro.name, "' got '", name, "' twice");
    given[index] = &value;
  }
  for (size_t i = 0; i < count; ++i) {
    const auto& [name, fallback] = macro.parameters[i];
    if (given[i] != nullptr) {
      scope->set(name, *given[i]);
    } else if (fallback != nullptr) {
      scope->set(name, expressions_.evaluate(*fallback, *scope));
    } else {
      scope->set(name, Value::undefined("parameter '" + name + "' was not provided"));
    }
  }
  TemplateTextBuilder written(runtime_);
  ++open_calls_;
  run(macro.body, scope, written);
  --open_calls_;
  return Value::text(std::move(written));
}

void TemplateEvaluator::assign(const AssignTarget& target, Value value, TemplateScope& scope) {
  if (target.is_tuple) {
    const Value elements = iterate(runtime_, value);
    if (elements.items().size() != target.parts.size()) {
      template_failed("can't unpack ", elements.items().size(), " values into ",
                      target.parts.size(), " names");
    }
    for (size_t i = 0; i < target.parts.size(); ++i) {
      assign(target.parts[i], elements.items()[i], scope);
    }
    return;
  }
  if (target.attribute.empty()) return scope.set(target.name, std::move(value));
  const Value* holder = scope.find(target.name);
  auto* held = holder == nullptr || !holder->is(Value::Kind::kObject)
                   ? nullptr
                   : dynamic_cast<TemplateNamespace*>(&holder->as_object());
  if (held == nullptr) {
    template_failed("can't set '", target.name, ".", target.attribute, "': '", target.name,
                    "' is not a namespace");
  }
  held->set(target.attribute, std::move(value));
}

}  // namespace switchyard
