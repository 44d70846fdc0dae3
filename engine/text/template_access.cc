// Reaching into values: attributes, elements, slices, iteration.
#include <algorithm>
#include <cstdint>

#include "engine/text/template_builtins.h"
#include "engine/text/template_operators.h"
#include "engine/text/template_unicode.h"

namespace switchyard {

namespace {

using Kind = TemplateValue::Kind;

TemplateValue missing(const TemplateValue& value, std::string_view name) {
  return TemplateValue::undefined("'" + std::string(value.type_name()) + "' has no attribute '" +
                                  std::string(name) + "'");
}

// A method of the value's type, or an attribute of an object.
TemplateValue own_attribute(TemplateRuntime& runtime,
                            const TemplateValue& value,
                            std::string_view name) {
  std::span<const NamedBuiltin> methods;
  switch (value.kind()) {
    case Kind::kObject:
      return value.as_object().attribute(runtime, name);
    case Kind::kText:
      methods = text_methods();
      break;
    case Kind::kMap:
      methods = map_methods();
      break;
    case Kind::kSequence:
      methods = list_methods();
      break;
    default:
      break;
  }
  const TemplateBuiltin method = find_builtin(methods, name);
  return method == nullptr ? TemplateValue() : bind_method(runtime, value, method);
}

TemplateValue character_at(TemplateRuntime& runtime, const TemplateValue& value, size_t index) {
  const std::string& text = value.as_text();
  if (text.size() == value.text_length()) return TemplateValue::text(runtime, {text[index]});
  runtime.touch(text.size());
  const std::string_view rest = std::string_view(text).substr(code_point_offset(text, index));
  return TemplateValue::text(runtime, std::string(rest.substr(0, code_point_offset(rest, 1))));
}

struct SliceRange {
  int64_t start;
  int64_t step;
  size_t count;
};

std::optional<int64_t> slice_bound(const TemplateValue& bound) {
  bound.require_defined();
  if (bound.is_none()) return {};
  if (!bound.is_integral()) template_failed("slice indices must be integers or None");
  return bound.as_integer();
}

// CPython's PySlice_AdjustIndices.
SliceRange slice_range(const SliceBounds& bounds, size_t size) {
  const int64_t length = static_cast<int64_t>(size);
  const int64_t step = slice_bound(bounds.step).value_or(1);
  if (step == 0) template_failed("slice step cannot be zero");
  const int64_t lowest = step < 0 ? -1 : 0;
  const int64_t highest = step < 0 ? length - 1 : length;
  const auto adjusted = [&](std::optional<int64_t> bound, int64_t omitted) {
    if (!bound) return omitted;
    return std::clamp(*bound < 0 ? *bound + length : *bound, lowest, highest);
  };
  const int64_t start = adjusted(slice_bound(bounds.start), step < 0 ? highest : lowest);
  const int64_t stop = adjusted(slice_bound(bounds.stop), step < 0 ? lowest : highest);
  const uint64_t distance = static_cast<uint64_t>(step < 0 ? start - stop : stop - start);
  const uint64_t stride = step < 0 ? 0 - static_cast<uint64_t>(step) : static_cast<uint64_t>(step);
  const bool empty = step < 0 ? start <= stop : start >= stop;
  return {start, step, empty ? 0 : static_cast<size_t>((distance - 1) / stride + 1)};
}

TemplateValue text_slice(TemplateRuntime& runtime,
                         const TemplateValue& value,
                         const SliceRange& range) {
  const std::string& text = value.as_text();
  runtime.touch(text.size());
  if (range.count == 0) return TemplateValue::constant_text({});
  if (range.step == 1) {
    const size_t start = code_point_offset(text, static_cast<size_t>(range.start));
    const std::string_view rest = std::string_view(text).substr(start);
    return TemplateValue::text(runtime,
                               std::string(rest.substr(0, code_point_offset(rest, range.count))));
  }
  if (range.step == -1 && range.count == value.text_length()) {
    return TemplateValue::text(runtime, reversed_text(text));
  }
  const TemplateCharge points_charge = runtime.hold(value.text_length() * sizeof(std::string_view));
  const std::vector<std::string_view> points = code_points_of(text);
  TemplateTextBuilder out(runtime);
  int64_t at = range.start;
  for (size_t i = 0; i < range.count; ++i) {
    out.append(points[static_cast<size_t>(at)]);
    if (i + 1 < range.count) at += range.step;
  }
  return TemplateValue::text(std::move(out));
}

}  // namespace

TemplateValue attribute_of(TemplateRuntime& runtime,
                           const TemplateValue& value,
                           std::string_view name) {
  value.require_defined();
  TemplateValue own = own_attribute(runtime, value, name);
  if (!own.is_undefined()) return own;
  if (value.is(Kind::kMap)) {
    const TemplateValue key = TemplateValue::constant_text(std::string(name));
    if (const TemplateValue* found = value.find(runtime, key)) return *found;
  }
  return missing(value, name);
}

TemplateValue element_of(TemplateRuntime& runtime,
                         const TemplateValue& value,
                         const TemplateValue& key) {
  value.require_defined();
  if (value.is(Kind::kMap)) {
    const bool hashable = !key.is(Kind::kMap) && !key.is_sequence(SequenceKind::kList);
    const TemplateValue* found = hashable ? value.find(runtime, key) : nullptr;
    if (found != nullptr) return *found;
  }
  const bool indexable = value.is_text() || (value.is(Kind::kSequence) &&
                                             value.sequence_kind() <= SequenceKind::kRange);
  if (indexable && key.is_integral()) {
    const size_t length = value.is_text() ? value.text_length() : value.items().size();
    const int64_t asked = key.as_integer();
    const int64_t index = asked < 0 ? asked + static_cast<int64_t>(length) : asked;
    if (index < 0 || index >= static_cast<int64_t>(length)) {
      return TemplateValue::undefined(std::string(value.type_name()) + " has no element " +
                                      std::to_string(asked));
    }
    if (value.is_text()) return character_at(runtime, value, static_cast<size_t>(index));
    return value.items()[static_cast<size_t>(index)];
  }
  if (!key.is_text()) {
    return TemplateValue::undefined("'" + std::string(value.type_name()) + "' has no such element");
  }
  TemplateValue own = own_attribute(runtime, value, key.as_text());
  return own.is_undefined() ? missing(value, key.as_text()) : own;
}

TemplateValue slice_of(TemplateRuntime& runtime,
                       const TemplateValue& value,
                       const SliceBounds& bounds) {
  value.require_defined();
  if (value.is_text()) {
    return text_slice(runtime, value, slice_range(bounds, value.text_length()));
  }
  if (!value.is(Kind::kSequence) || value.sequence_kind() > SequenceKind::kRange) {
    template_failed("a '", value.type_name(), "' can't be sliced");
  }
  const SliceRange range = slice_range(bounds, value.items().size());
  const TemplateCharge gathered = runtime.hold(range.count * sizeof(TemplateValue));
  TemplateItems items;
  items.reserve(range.count);
  int64_t at = range.start;
  for (size_t i = 0; i < range.count; ++i) {
    items.push_back(value.items()[static_cast<size_t>(at)]);
    if (i + 1 < range.count) at += range.step;
  }
  return TemplateValue::sequence(runtime, value.sequence_kind(), std::move(items));
}

TemplateValue iterate(TemplateRuntime& runtime, const TemplateValue& value) {
  TemplateItems items;
  switch (value.kind()) {
    case Kind::kUndefined:
      break;
    case Kind::kSequence:
      return value;
    case Kind::kText: {
      const TemplateCharge points_charge =
          runtime.hold(value.text_length() * sizeof(std::string_view));
      for (const std::string_view point : code_points_of(value.as_text())) {
        items.push_back(TemplateValue::text(runtime, std::string(point)));
      }
      break;
    }
    case Kind::kMap:
      for (const auto& entry : value.entries()) items.push_back(entry.first);
      break;
    default:
      template_failed("'", value.type_name(), "' object is not iterable");
  }
  return TemplateValue::sequence(runtime, SequenceKind::kIterator, std::move(items));
}

TemplateObject::TemplateObject(TemplateRuntime& runtime, int depth)
    : charge_(runtime.hold(sizeof(TemplateFunction) + 64)), depth_(depth) {
  runtime.admit_depth(depth, "objects within objects");
}

TemplateValue TemplateObject::attribute(TemplateRuntime& /*runtime*/, std::string_view /*name*/) {
  return {};
}

TemplateValue TemplateObject::call(TemplateRuntime& /*runtime*/,
                                   const TemplateArguments& /*arguments*/) {
  template_failed("'", type_name(), "' object is not callable");
}

TemplateValue TemplateNamespace::attribute(TemplateRuntime& /*runtime*/, std::string_view name) {
  const auto found = attributes_.find(name);
  return found == attributes_.end() ? TemplateValue() : found->second;
}

void TemplateNamespace::set(std::string_view name, TemplateValue value) {
  attributes_.insert_or_assign(std::string(name), std::move(value));
}

}  // namespace switchyard
