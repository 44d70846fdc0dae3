// Making, reading, comparing and iterating values. See the header.
#include "engine/text/template_value.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/text/template_unicode.h"
#include "engine/text/unicode.h"

namespace switchyard {

struct TemplateText {
  std::string text;
  size_t length;  // code points
  TemplateCharge charge;
};

struct TemplateList {
  SequenceKind kind;
  TemplateItems items;
  int depth;
  TemplateCharge charge;
};

struct TemplateMap {
  TemplateEntries entries;
  std::vector<uint32_t> by_key;  // indices into entries, sorted by key
  int depth;
  TemplateCharge charge;
};

namespace {

using Kind = TemplateValue::Kind;
constexpr size_t kNodeBytes = 96;  // of a container or an object, with its reference count

// A total order of what Python can hash, in which 1, 1.0 and true are the same key.
int key_rank(const TemplateValue& key) {
  switch (key.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kNone:
      return 1;
    case Kind::kBoolean:
    case Kind::kInteger:
    case Kind::kFloat:
      return 2;
    case Kind::kText:
      return 3;
    case Kind::kSequence:
      if (key.is_sequence(SequenceKind::kTuple)) return 4;
      break;
    case Kind::kObject:
      return 5;
    case Kind::kMap:
      break;
  }
  template_failed("unhashable type: '", key.type_name(), "'");
}

bool key_before(TemplateRuntime& runtime, const TemplateValue& left, const TemplateValue& right) {
  const int left_rank = key_rank(left);
  const int right_rank = key_rank(right);
  if (left_rank != right_rank || left_rank < 2) return left_rank < right_rank;
  if (left_rank == 5) return std::less<>()(&left.as_object(), &right.as_object());
  if (left_rank != 4) return sorts_before(runtime, left, right);
  return std::lexicographical_compare(
      left.items().begin(), left.items().end(), right.items().begin(), right.items().end(),
      [&](const auto& a, const auto& b) { return key_before(runtime, a, b); });
}

int depth_of(const TemplateItems& items) {
  int depth = 0;
  for (const TemplateValue& item : items) depth = std::max(depth, item.depth());
  return depth + 1;
}

std::partial_ordering order_numbers(const TemplateValue& left, const TemplateValue& right) {
  if (left.is_integral() && right.is_integral()) return left.as_integer() <=> right.as_integer();
  return left.as_real() <=> right.as_real();
}

}  // namespace

TemplateValue TemplateValue::undefined(std::string why) {
  return TemplateValue(std::in_place,
                       Undefined{std::make_shared<const std::string>(std::move(why))});
}

TemplateValue TemplateValue::text(TemplateRuntime& runtime, std::string value) {
  runtime.admit_text(value.size());
  runtime.touch(value.size());
  TemplateCharge charge = runtime.hold(kNodeBytes + value.size());
  const size_t length = code_point_count(value);
  return TemplateValue(std::in_place, std::make_shared<const TemplateText>(TemplateText{
                                          std::move(value), length, std::move(charge)}));
}

TemplateValue TemplateValue::text(TemplateTextBuilder&& builder) {
  std::string value = std::move(builder).take();
  // Another part of the builder than take() took.
  // NOLINTNEXTLINE(bugprone-use-after-move)
  TemplateCharge charge = std::move(builder).take_charge();
  charge.grow(kNodeBytes);
  const size_t length = code_point_count(value);
  return TemplateValue(std::in_place, std::make_shared<const TemplateText>(TemplateText{
                                          std::move(value), length, std::move(charge)}));
}

TemplateValue TemplateValue::constant_text(std::string value) {
  const size_t length = code_point_count(value);
  return TemplateValue(std::in_place, std::make_shared<const TemplateText>(TemplateText{
                                          std::move(value), length, TemplateCharge()}));
}

TemplateValue TemplateValue::sequence(TemplateRuntime& runtime,
                                      SequenceKind kind,
                                      TemplateItems items) {
  const size_t bytes = items.size() * sizeof(TemplateValue);
  runtime.touch(bytes);
  TemplateCharge charge = runtime.hold(kNodeBytes + bytes);
  const int depth = depth_of(items);
  runtime.admit_depth(depth, "lists within lists");
  return TemplateValue(std::in_place, std::make_shared<const TemplateList>(TemplateList{
                                          kind, std::move(items), depth, std::move(charge)}));
}

TemplateValue TemplateValue::map(TemplateRuntime& runtime, TemplateEntries entries) {
  if (entries.size() > std::numeric_limits<uint32_t>::max()) template_failed("too many keys");
  const size_t bytes = entries.size() * (2 * sizeof(TemplateValue) + sizeof(uint32_t));
  TemplateCharge charge = runtime.hold(kNodeBytes + bytes);
  int depth = 0;
  for (const auto& [key, value] : entries) {
    depth = std::max({depth, key.depth(), value.depth()});
    key_rank(key);
  }
  runtime.admit_depth(depth + 1, "lists within lists");

  std::vector<uint32_t> by_key(entries.size());
  std::iota(by_key.begin(), by_key.end(), 0u);
  const auto before = [&](uint32_t a, uint32_t b) {
    runtime.step();
    return key_before(runtime, entries[a].first, entries[b].first);
  };
  std::stable_sort(by_key.begin(), by_key.end(), before);
  TemplateEntries unique;
  std::vector<bool> repeated(entries.size());
  for (size_t i = 1; i < by_key.size(); ++i) {
    const auto first = by_key[i - 1];
    if (before(first, by_key[i])) continue;
    entries[first].second = entries[by_key[i]].second;
    repeated[by_key[i]] = true;
    by_key[i] = first;
  }
  if (std::find(repeated.begin(), repeated.end(), true) != repeated.end()) {
    for (size_t i = 0; i < entries.size(); ++i) {
      if (!repeated[i]) unique.push_back(std::move(entries[i]));
    }
    return map(runtime, std::move(unique));
  }
  return TemplateValue(std::in_place,
                       std::make_shared<const TemplateMap>(TemplateMap{
                           std::move(entries), std::move(by_key), depth + 1, std::move(charge)}));
}

TemplateValue TemplateValue::object(std::shared_ptr<TemplateObject> object) {
  return TemplateValue(std::in_place, std::move(object));
}

TemplateValue TemplateValue::from_json(TemplateRuntime& runtime,
                                       const nlohmann::ordered_json& json) {
  const auto checked_text = [&runtime](const std::string& value) {
    if (find_invalid_utf8(value)) template_failed("a string of the input is not UTF-8");
    return text(runtime, value);
  };
  // The depth is checked on the way down, before the recursion could hurt.
  const auto convert = [&](const auto& self, const nlohmann::ordered_json& node,
                           int depth) -> TemplateValue {
    runtime.admit_depth(depth, "lists within lists");
    switch (node.type()) {
      case nlohmann::ordered_json::value_t::boolean:
        return boolean(node.get<bool>());
      case nlohmann::ordered_json::value_t::number_integer:
        return integer(node.get<int64_t>());
      case nlohmann::ordered_json::value_t::number_unsigned:
        if (node.get<uint64_t>() > std::numeric_limits<int64_t>::max()) {
          template_failed("integer ", node.get<uint64_t>(), " does not fit 64 signed bits");
        }
        return integer(node.get<int64_t>());
      case nlohmann::ordered_json::value_t::number_float:
        return real(node.get<double>());
      case nlohmann::ordered_json::value_t::string:
        return checked_text(node.get_ref<const std::string&>());
      case nlohmann::ordered_json::value_t::array: {
        TemplateItems items;
        for (const auto& item : node) items.push_back(self(self, item, depth + 1));
        return list(runtime, std::move(items));
      }
      case nlohmann::ordered_json::value_t::object: {
        TemplateEntries entries;
        for (const auto& [key, value] : node.items()) {
          entries.emplace_back(checked_text(key), self(self, value, depth + 1));
        }
        return map(runtime, std::move(entries));
      }
      default:
        return none();
    }
  };
  return convert(convert, json, 0);
}

bool TemplateValue::is_sequence(SequenceKind kind) const {
  return is(Kind::kSequence) && sequence_kind() == kind;
}

bool TemplateValue::is_number() const { return is_integral() || is(Kind::kFloat); }

int64_t TemplateValue::as_integer() const {
  return is(Kind::kBoolean) ? int64_t{as_boolean()} : std::get<int64_t>(storage_);
}

double TemplateValue::as_real() const {
  return is(Kind::kFloat) ? std::get<double>(storage_) : static_cast<double>(as_integer());
}

const std::string& TemplateValue::as_text() const {
  return std::get<std::shared_ptr<const TemplateText>>(storage_)->text;
}

size_t TemplateValue::text_length() const {
  return std::get<std::shared_ptr<const TemplateText>>(storage_)->length;
}

const TemplateItems& TemplateValue::items() const {
  return std::get<std::shared_ptr<const TemplateList>>(storage_)->items;
}

SequenceKind TemplateValue::sequence_kind() const {
  return std::get<std::shared_ptr<const TemplateList>>(storage_)->kind;
}

const TemplateEntries& TemplateValue::entries() const {
  return std::get<std::shared_ptr<const TemplateMap>>(storage_)->entries;
}

const std::shared_ptr<TemplateObject>& TemplateValue::object_pointer() const {
  return std::get<std::shared_ptr<TemplateObject>>(storage_);
}

TemplateObject& TemplateValue::as_object() const { return *object_pointer(); }

const TemplateValue* TemplateValue::find(TemplateRuntime& runtime, const TemplateValue& key) const {
  const TemplateMap& map = *std::get<std::shared_ptr<const TemplateMap>>(storage_);
  key_rank(key);
  const auto found = std::lower_bound(
      map.by_key.begin(), map.by_key.end(), key, [&](uint32_t index, const TemplateValue& sought) {
        return key_before(runtime, map.entries[index].first, sought);
      });
  if (found == map.by_key.end()) return nullptr;
  const auto& [candidate, value] = map.entries[*found];
  return key_before(runtime, key, candidate) ? nullptr : &value;
}

bool TemplateValue::truth() const {
  switch (kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBoolean:
      return as_boolean();
    case Kind::kInteger:
      return as_integer() != 0;
    case Kind::kFloat:
      return as_real() != 0;
    case Kind::kText:
      return !as_text().empty();
    case Kind::kSequence:
      return sequence_kind() == SequenceKind::kIterator || !items().empty();
    case Kind::kMap:
      return !entries().empty();
    case Kind::kObject:
      break;
  }
  return true;
}

int TemplateValue::depth() const {
  switch (kind()) {
    case Kind::kSequence:
      return std::get<std::shared_ptr<const TemplateList>>(storage_)->depth;
    case Kind::kMap:
      return std::get<std::shared_ptr<const TemplateMap>>(storage_)->depth;
    case Kind::kObject:
      return as_object().depth();
    default:
      return 0;
  }
}

std::string_view TemplateValue::type_name() const {
  constexpr std::string_view kSequences[] = {"list", "tuple", "range", "dict view", "generator"};
  constexpr std::string_view kNames[] = {"Undefined", "NoneType", "bool", "int", "float", "str"};
  if (is(Kind::kSequence)) return kSequences[static_cast<size_t>(sequence_kind())];
  if (is(Kind::kMap)) return "dict";
  if (is(Kind::kObject)) return as_object().type_name();
  return kNames[static_cast<size_t>(kind())];
}

void TemplateValue::require_defined() const {
  if (!is_undefined()) return;
  const auto& why = std::get<Undefined>(storage_).why;
  template_failed(why == nullptr ? std::string("the value is undefined") : *why);
}

bool equal(TemplateRuntime& runtime, const TemplateValue& left, const TemplateValue& right) {
  runtime.step();
  if (left.is_number() && right.is_number()) return order_numbers(left, right) == 0;
  if (left.kind() != right.kind()) return false;
  switch (left.kind()) {
    case Kind::kText:
      if (&left.as_text() == &right.as_text()) return true;
      runtime.touch(std::min(left.as_text().size(), right.as_text().size()));
      return left.as_text() == right.as_text();
    case Kind::kSequence:
      return left.sequence_kind() == right.sequence_kind() &&
             std::equal(left.items().begin(), left.items().end(), right.items().begin(),
                        right.items().end(),
                        [&](const auto& a, const auto& b) { return equal(runtime, a, b); });
    case Kind::kMap:
      if (left.entries().size() != right.entries().size()) return false;
      for (const auto& [key, value] : left.entries()) {
        const TemplateValue* other = right.find(runtime, key);
        if (other == nullptr || !equal(runtime, value, *other)) return false;
      }
      return true;
    case Kind::kObject:
      return &left.as_object() == &right.as_object();
    default:
      return true;  // undefined and none have one value each
  }
}

std::partial_ordering order(TemplateRuntime& runtime,
                            const TemplateValue& left,
                            const TemplateValue& right) {
  runtime.step();
  left.require_defined();
  right.require_defined();
  if (left.is_number() && right.is_number()) return order_numbers(left, right);
  if (left.is_text() && right.is_text()) {
    // Bytes of UTF-8 sort as code points do.
    runtime.touch(std::min(left.as_text().size(), right.as_text().size()));
    return left.as_text().compare(right.as_text()) <=> 0;
  }
  for (const SequenceKind kind : {SequenceKind::kList, SequenceKind::kTuple}) {
    if (!left.is_sequence(kind) || !right.is_sequence(kind)) continue;
    const size_t shared = std::min(left.items().size(), right.items().size());
    for (size_t i = 0; i < shared; ++i) {
      if (equal(runtime, left.items()[i], right.items()[i])) continue;
      return order(runtime, left.items()[i], right.items()[i]);
    }
    return left.items().size() <=> right.items().size();
  }
  template_failed("'", left.type_name(), "' and '", right.type_name(), "' have no order");
}

bool sorts_before(TemplateRuntime& runtime, const TemplateValue& left, const TemplateValue& right) {
  const auto ordering = order(runtime, left, right);
  if (ordering != std::partial_ordering::unordered) return ordering < 0;
  const auto is_nan = [](const TemplateValue& value) {
    return value.is(Kind::kFloat) && std::isnan(value.as_real());
  };
  return !is_nan(left) && is_nan(right);
}

}  // namespace switchyard
