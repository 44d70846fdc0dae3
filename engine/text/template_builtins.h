// The filters, tests, methods and functions that a template can name, as tables of functions, and
// how each reads its arguments. Jinja's and Python's documentation is their contract.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/template_value.h"

namespace switchyard {

// `input` is what the filter or test is applied to, or the object of the method; undefined for a
// plain function.
using TemplateBuiltin = TemplateValue (*)(TemplateRuntime& runtime,
                                          const TemplateValue& input,
                                          const TemplateArguments& arguments);
struct NamedBuiltin {
  std::string_view name;
  TemplateBuiltin function;
};

[[nodiscard]] std::span<const NamedBuiltin> text_filters();      // of one value
[[nodiscard]] std::span<const NamedBuiltin> sequence_filters();  // of many
[[nodiscard]] std::span<const NamedBuiltin> template_tests();
[[nodiscard]] std::span<const NamedBuiltin> text_methods();
[[nodiscard]] std::span<const NamedBuiltin> list_methods();
[[nodiscard]] std::span<const NamedBuiltin> map_methods();
[[nodiscard]] std::span<const NamedBuiltin> template_functions();

// Null when there is none of that name.
[[nodiscard]] TemplateBuiltin find_builtin(std::span<const NamedBuiltin> table,
                                           std::string_view name);
// Throws when there is none of that name.
TemplateValue apply_filter(TemplateRuntime& runtime,
                           std::string_view name,
                           const TemplateValue& input,
                           const TemplateArguments& arguments);
bool apply_test(TemplateRuntime& runtime,
                std::string_view name,
                const TemplateValue& input,
                const TemplateArguments& arguments);
// The method as a value that can be called later.
TemplateValue bind_method(TemplateRuntime& runtime,
                          const TemplateValue& object,
                          TemplateBuiltin method);

// Arguments by the names of the parameters. Throws for one too many, unknown or given twice.
// Borrows the arguments.
class BoundArguments {
 public:
  BoundArguments(std::string_view function,
                 const TemplateArguments& arguments,
                 std::initializer_list<std::string_view> parameters);

  [[nodiscard]] bool has(size_t parameter) const { return values_[parameter] != nullptr; }
  // The rest throw when the argument is of another kind, or is missing without a fallback.
  [[nodiscard]] const TemplateValue& value(size_t parameter) const;
  [[nodiscard]] TemplateValue value_or(size_t parameter, const TemplateValue& fallback) const;
  [[nodiscard]] bool truth_or(size_t parameter, bool fallback) const;
  [[nodiscard]] int64_t integer(size_t parameter) const;
  [[nodiscard]] int64_t integer_or(size_t parameter, int64_t fallback) const;
  [[nodiscard]] const std::string& text(size_t parameter) const;
  // Given and not none.
  [[nodiscard]] bool is_set(size_t parameter) const;

 private:
  std::string_view function_;
  std::vector<std::string_view> parameters_;
  std::vector<const TemplateValue*> values_;
};

// For a function that takes no notice of its arguments beyond that there are none but these.
void check_arguments(std::string_view function,
                     const TemplateArguments& arguments,
                     std::initializer_list<std::string_view> parameters);

// "%s is %d" % values, and "{} is {name}".format(...): the conversions s, r, d, i, x, f, e, g with
// flags, width and precision.
TemplateValue format_percent(TemplateRuntime& runtime,
                             std::string_view format,
                             const TemplateValue& values);
TemplateValue format_braces(TemplateRuntime& runtime,
                            std::string_view format,
                            const TemplateArguments& arguments);

}  // namespace switchyard
