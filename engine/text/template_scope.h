// Where a template's names live: one scope per loop iteration, macro call or scoped block, inside
// of the scope that the source puts it in. Names are borrowed from the parsed template or from the
// input, which outlive the render.
#pragma once

#include <memory>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "engine/text/template_value.h"

namespace switchyard {

class TemplateScope {
 public:
  explicit TemplateScope(std::shared_ptr<const TemplateScope> parent)
      : parent_(std::move(parent)) {}

  void set(std::string_view name, TemplateValue value) {
    variables_.insert_or_assign(name, std::move(value));
  }
  // Null when no scope from here outwards has it.
  [[nodiscard]] const TemplateValue* find(std::string_view name) const {
    for (const TemplateScope* scope = this; scope != nullptr; scope = scope->parent_.get()) {
      const auto found = scope->variables_.find(name);
      if (found != scope->variables_.end()) return &found->second;
    }
    return nullptr;
  }

 private:
  std::shared_ptr<const TemplateScope> parent_;
  std::unordered_map<std::string_view, TemplateValue> variables_;
};

using TemplateScopePointer = std::shared_ptr<TemplateScope>;

}  // namespace switchyard
