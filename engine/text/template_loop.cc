// The `loop` variable of a for loop. See the header.
#include "engine/text/template_loop.h"

namespace switchyard {

using Value = TemplateValue;

TemplateValue TemplateLoop::attribute(TemplateRuntime& runtime, std::string_view name) {
  const TemplateItems& items = elements_.items();
  const int64_t length = static_cast<int64_t>(items.size());
  const int64_t index = static_cast<int64_t>(index_);
  if (name == "index") return Value::integer(index + 1);
  if (name == "index0") return Value::integer(index);
  if (name == "first") return Value::boolean(index == 0);
  if (name == "last") return Value::boolean(index + 1 == length);
  if (name == "length") return Value::integer(length);
  if (name == "revindex") return Value::integer(length - index);
  if (name == "revindex0") return Value::integer(length - index - 1);
  if (name == "depth") return Value::integer(1);
  if (name == "depth0") return Value::integer(0);
  if (name == "previtem") {
    return index > 0 ? items[index_ - 1] : Value::undefined("there is no previous item");
  }
  if (name == "nextitem") {
    return index + 1 < length ? items[index_ + 1] : Value::undefined("there is no next item");
  }
  if (name != "cycle") return {};
  return Value::object(std::make_shared<TemplateFunction>(
      runtime, depth(), [at = index_](TemplateRuntime&, const TemplateArguments& arguments) {
        if (arguments.positional.empty()) template_failed("loop.cycle() needs arguments");
        return arguments.positional[at % arguments.positional.size()];
      }));
}

}  // namespace switchyard
