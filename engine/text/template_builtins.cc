// Looking builtins up and reading their arguments. See the header.
#include "engine/text/template_builtins.h"

#include <algorithm>

namespace switchyard {

TemplateBuiltin find_builtin(std::span<const NamedBuiltin> table, std::string_view name) {
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const NamedBuiltin& entry) { return entry.name == name; });
  return found == table.end() ? nullptr : found->function;
}

TemplateValue apply_filter(TemplateRuntime& runtime,
                           std::string_view name,
                           const TemplateValue& input,
                           const TemplateArguments& arguments) {
  const TemplateRuntime::Nesting nesting(runtime);
  runtime.step();
  TemplateBuiltin filter = find_builtin(text_filters(), name);
  if (filter == nullptr) filter = find_builtin(sequence_filters(), name);
  if (filter == nullptr) template_failed("there is no filter named '", name, "'");
  return filter(runtime, input, arguments);
}

bool apply_test(TemplateRuntime& runtime,
                std::string_view name,
                const TemplateValue& input,
                const TemplateArguments& arguments) {
  runtime.step();
  const TemplateBuiltin test = find_builtin(template_tests(), name);
  if (test == nullptr) template_failed("there is no test named '", name, "'");
  return test(runtime, input, arguments).truth();
}

TemplateValue bind_method(TemplateRuntime& runtime,
                          const TemplateValue& object,
                          TemplateBuiltin method) {
  return TemplateValue::object(std::make_shared<TemplateFunction>(
      runtime, object.depth() + 1,
      [object, method](TemplateRuntime& caller, const TemplateArguments& arguments) {
        return method(caller, object, arguments);
      }));
}

BoundArguments::BoundArguments(std::string_view function,
                               const TemplateArguments& arguments,
                               std::initializer_list<std::string_view> parameters)
    : function_(function), parameters_(parameters), values_(parameters.size()) {
  if (arguments.positional.size() > values_.size()) {
    template_failed(function, "() takes at most ", values_.size(), " arguments, got ",
                    arguments.positional.size());
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(parameters_.begin(), parameters_.end(), name);
    if (found == parameters_.end()) {
      template_failed(function, "() has no argument '", name, "'");
    }
    const TemplateValue*& slot = values_[static_cast<size_t>(found - parameters_.begin())];
    if (slot != nullptr) template_failed(function, "() got '", name, "' twice");
    slot = &value;
  }
}

void check_arguments(std::string_view function,
                     const TemplateArguments& arguments,
                     std::initializer_list<std::string_view> parameters) {
  const BoundArguments checked(function, arguments, parameters);
}

const TemplateValue& BoundArguments::value(size_t parameter) const {
  if (has(parameter)) return *values_[parameter];
  template_failed(function_, "() needs the argument '", parameters_[parameter], "'");
}

TemplateValue BoundArguments::value_or(size_t parameter, const TemplateValue& fallback) const {
  return has(parameter) ? *values_[parameter] : fallback;
}

bool BoundArguments::truth_or(size_t parameter, bool fallback) const {
  return has(parameter) ? values_[parameter]->truth() : fallback;
}

int64_t BoundArguments::integer(size_t parameter) const {
  const TemplateValue& given = value(parameter);
  given.require_defined();
  if (given.is_integral()) return given.as_integer();
  template_failed(function_, "(): '", parameters_[parameter], "' must be an integer, not ",
                  given.type_name());
}

int64_t BoundArguments::integer_or(size_t parameter, int64_t fallback) const {
  return has(parameter) ? integer(parameter) : fallback;
}

const std::string& BoundArguments::text(size_t parameter) const {
  const TemplateValue& given = value(parameter);
  given.require_defined();
  if (given.is_text()) return given.as_text();
  template_failed(function_, "(): '", parameters_[parameter], "' must be a string, not ",
                  given.type_name());
}

bool BoundArguments::is_set(size_t parameter) const {
  return has(parameter) && !values_[parameter]->is_none();
}

}  // namespace switchyard
