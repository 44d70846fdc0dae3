// Python's operators on values, and Jinja's way to reach into them.
// Each throws TemplateError for kinds it does not take and for results outside of 64 bits.
#pragma once

#include <string_view>

#include "engine/text/template_ast.h"
#include "engine/text/template_value.h"

namespace switchyard {

TemplateValue apply_binary(TemplateRuntime& runtime,
                           BinaryOperator operation,
                           const TemplateValue& left,
                           const TemplateValue& right);
TemplateValue negated(const TemplateValue& value);
bool contains(TemplateRuntime& runtime,
              const TemplateValue& container,
              const TemplateValue& sought);
bool compare(TemplateRuntime& runtime,
             Comparison comparison,
             const TemplateValue& left,
             const TemplateValue& right);

// value.name: a method or attribute first, then the key. Undefined when there is neither.
TemplateValue attribute_of(TemplateRuntime& runtime,
                           const TemplateValue& value,
                           std::string_view name);
// value[key]: the element or key first, then the attribute. Undefined when there is neither.
TemplateValue element_of(TemplateRuntime& runtime,
                         const TemplateValue& value,
                         const TemplateValue& key);
// Bounds are integers, or none where they are left out.
struct SliceBounds {
  TemplateValue start;
  TemplateValue stop;
  TemplateValue step;
};
TemplateValue slice_of(TemplateRuntime& runtime,
                       const TemplateValue& value,
                       const SliceBounds& bounds);

}  // namespace switchyard
