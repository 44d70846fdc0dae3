// The `loop` variable of a for loop: where it is, and what came before and comes next.
#pragma once

#include <string_view>

#include "engine/text/template_value.h"

namespace switchyard {

class TemplateLoop : public TemplateObject {
 public:
  // `elements` is a sequence.
  TemplateLoop(TemplateRuntime& runtime, TemplateValue elements)
      : TemplateObject(runtime, elements.depth() + 1), elements_(std::move(elements)) {}

  [[nodiscard]] std::string_view type_name() const override { return "LoopContext"; }
  [[nodiscard]] bool done() const { return index_ == elements_.items().size(); }
  [[nodiscard]] const TemplateValue& current() const { return elements_.items()[index_]; }
  void advance() { ++index_; }

  TemplateValue attribute(TemplateRuntime& runtime, std::string_view name) override;

 private:
  TemplateValue elements_;
  size_t index_ = 0;
};

}  // namespace switchyard
