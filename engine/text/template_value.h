// What a template computes with: Python's None, bool, int, float, str, list, tuple, dict, and the
// objects of Jinja (undefined, namespaces, loops, callables). Not how they print (template_print).
// Values are immutable and shared by reference count; only a namespace changes. Depth is bounded
// where a container is made, so destroying one never recurses far. Integers are 64-bit: an
// operation that leaves them is an error. One render, one thread.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "engine/text/template_runtime.h"

namespace switchyard {

class TemplateObject;
class TemplateValue;
struct TemplateList;
struct TemplateMap;
struct TemplateText;

using TemplateItems = std::vector<TemplateValue>;
using TemplateEntries = std::vector<std::pair<TemplateValue, TemplateValue>>;

// What Python would call the sequence. An iterator (of map, select, ...) is always true, has no
// length and no elements by index; a view (of keys, values, items) has a length only.
enum class SequenceKind { kList, kTuple, kRange, kView, kIterator };

class TemplateValue {
 public:
  enum class Kind {
    kUndefined,
    kNone,
    kBoolean,
    kInteger,
    kFloat,
    kText,
    kSequence,
    kMap,
    kObject,
  };

  TemplateValue() = default;  // undefined
  // `why` is the whole sentence that using the value will fail with.
  static TemplateValue undefined(std::string why);
  static TemplateValue none() { return TemplateValue(std::in_place, None{}); }
  static TemplateValue boolean(bool value) { return TemplateValue(std::in_place, value); }
  static TemplateValue integer(int64_t value) { return TemplateValue(std::in_place, value); }
  static TemplateValue real(double value) { return TemplateValue(std::in_place, value); }
  static TemplateValue text(TemplateRuntime& runtime, std::string value);
  static TemplateValue text(TemplateTextBuilder&& builder);
  static TemplateValue constant_text(std::string value);  // charged to nobody
  static TemplateValue sequence(TemplateRuntime& runtime, SequenceKind kind, TemplateItems items);
  static TemplateValue list(TemplateRuntime& runtime, TemplateItems items) {
    return sequence(runtime, SequenceKind::kList, std::move(items));
  }
  // The last of equal keys wins and keeps the place of the first, as in a dict display.
  static TemplateValue map(TemplateRuntime& runtime, TemplateEntries entries);
  static TemplateValue object(std::shared_ptr<TemplateObject> object);
  static TemplateValue from_json(TemplateRuntime& runtime, const nlohmann::ordered_json& json);

  [[nodiscard]] Kind kind() const { return static_cast<Kind>(storage_.index()); }
  [[nodiscard]] bool is(Kind other) const { return kind() == other; }
  [[nodiscard]] bool is_undefined() const { return is(Kind::kUndefined); }
  [[nodiscard]] bool is_none() const { return is(Kind::kNone); }
  [[nodiscard]] bool is_text() const { return is(Kind::kText); }
  [[nodiscard]] bool is_sequence(SequenceKind kind) const;
  // bool, int or float: what Python calls a number.
  [[nodiscard]] bool is_number() const;
  [[nodiscard]] bool is_integral() const { return is(Kind::kBoolean) || is(Kind::kInteger); }

  // Each is ours to have asked the kind of first.
  [[nodiscard]] bool as_boolean() const { return std::get<bool>(storage_); }
  [[nodiscard]] int64_t as_integer() const;  // of an integral
  [[nodiscard]] double as_real() const;      // of a number
  [[nodiscard]] const std::string& as_text() const;
  [[nodiscard]] size_t text_length() const;  // in code points
  [[nodiscard]] const TemplateItems& items() const;
  [[nodiscard]] SequenceKind sequence_kind() const;
  [[nodiscard]] const TemplateEntries& entries() const;
  [[nodiscard]] TemplateObject& as_object() const;
  [[nodiscard]] const std::shared_ptr<TemplateObject>& object_pointer() const;
  // Null when the map has no such key. Throws for a key that Python could not hash.
  [[nodiscard]] const TemplateValue* find(TemplateRuntime& runtime, const TemplateValue& key) const;

  [[nodiscard]] bool truth() const;
  [[nodiscard]] int depth() const;  // 0 for scalars
  [[nodiscard]] std::string_view type_name() const;
  // Throws what using an undefined value throws; nothing for any other.
  void require_defined() const;

 private:
  struct Undefined {
    std::shared_ptr<const std::string> why;
  };
  struct None {};
  using Storage = std::variant<Undefined,
                               None,
                               bool,
                               int64_t,
                               double,
                               std::shared_ptr<const TemplateText>,
                               std::shared_ptr<const TemplateList>,
                               std::shared_ptr<const TemplateMap>,
                               std::shared_ptr<TemplateObject>>;
  template <typename Alternative>
  explicit TemplateValue(std::in_place_t /*tag*/, Alternative alternative)
      : storage_(std::in_place_type<Alternative>, std::move(alternative)) {}

  Storage storage_;
};

// Python's ==.
bool equal(TemplateRuntime& runtime, const TemplateValue& left, const TemplateValue& right);
// Python's ordering of numbers, strings and sequences; throws for kinds it does not order.
std::partial_ordering order(TemplateRuntime& runtime,
                            const TemplateValue& left,
                            const TemplateValue& right);
// A strict weak ordering for sorting: `order`, with NaN after every number.
bool sorts_before(TemplateRuntime& runtime, const TemplateValue& left, const TemplateValue& right);
// What a loop runs over, as a sequence: elements, keys of a map, characters of a text, nothing of
// undefined. Throws for what can't be iterated.
TemplateValue iterate(TemplateRuntime& runtime, const TemplateValue& value);

struct TemplateArguments {
  TemplateItems positional;
  std::vector<std::pair<std::string_view, TemplateValue>> named;
};

// What has attributes or can be called.
class TemplateObject {
 public:
  TemplateObject(TemplateRuntime& runtime, int depth);
  virtual ~TemplateObject() = default;
  TemplateObject(const TemplateObject&) = delete;
  TemplateObject& operator=(const TemplateObject&) = delete;

  [[nodiscard]] virtual std::string_view type_name() const = 0;
  // Undefined when there is no such attribute.
  virtual TemplateValue attribute(TemplateRuntime& runtime, std::string_view name);
  virtual TemplateValue call(TemplateRuntime& runtime, const TemplateArguments& arguments);
  [[nodiscard]] virtual bool callable() const { return false; }
  [[nodiscard]] int depth() const { return depth_; }

 private:
  TemplateCharge charge_;
  int depth_;
};

class TemplateFunction : public TemplateObject {
 public:
  using Body = std::function<TemplateValue(TemplateRuntime&, const TemplateArguments&)>;

  TemplateFunction(TemplateRuntime& runtime, int depth, Body body)
      : TemplateObject(runtime, depth), body_(std::move(body)) {}
  [[nodiscard]] std::string_view type_name() const override { return "function"; }
  [[nodiscard]] bool callable() const override { return true; }
  TemplateValue call(TemplateRuntime& runtime, const TemplateArguments& arguments) override {
    return body_(runtime, arguments);
  }

 private:
  Body body_;
};

// The one thing a template can change: {% set ns.name = value %}.
class TemplateNamespace : public TemplateObject {
 public:
  explicit TemplateNamespace(TemplateRuntime& runtime) : TemplateObject(runtime, 0) {}
  [[nodiscard]] std::string_view type_name() const override { return "Namespace"; }
  TemplateValue attribute(TemplateRuntime& runtime, std::string_view name) override;
  void set(std::string_view name, TemplateValue value);
  void clear() { attributes_.clear(); }

 private:
  std::map<std::string, TemplateValue, std::less<>> attributes_;
};

}  // namespace switchyard
