#include "engine/model/arch/config_fields.h"

#include <cmath>
#include <limits>

namespace switchyard {

void ConfigFields::reject(std::string_view field, std::string_view what) {
  if (status_.ok()) status_ = Status::invalid(field, what);
}

ConfigFields::Found ConfigFields::find(Spellings names) const {
  for (const std::string_view name : names) {
    const nlohmann::json* at = &object_;
    for (size_t begin = 0; at != nullptr && begin <= name.size();) {
      const size_t end = std::min(name.find('.', begin), name.size());
      const auto member =
          at->is_object() ? at->find(std::string(name.substr(begin, end - begin))) : at->end();
      at = at->is_object() && member != at->end() ? &*member : nullptr;
      begin = end + 1;
    }
    if (at != nullptr && !at->is_null()) return {.name = name, .value = at};
  }
  return {.name = *names.begin(), .value = nullptr};
}

bool ConfigFields::is_null(std::string_view name) const {
  const auto found = object_.find(std::string(name));
  return found != object_.end() && found->is_null();
}

int64_t ConfigFields::checked_integer(const Found& found, Range<int64_t> range) {
  constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  const nlohmann::json& value = *found.value;
  if (!value.is_number_integer()) {
    reject(found.name, "should be an integer");
    return range.least;
  }
  const bool huge = value.is_number_unsigned() && value.get<uint64_t>() > kMost;
  const int64_t number = huge ? std::numeric_limits<int64_t>::max() : value.get<int64_t>();
  if (number < range.least || number > range.most) {
    reject(found.name, (huge ? "a huge number" : std::to_string(number)) + " is not in [" +
                           std::to_string(range.least) + ", " + std::to_string(range.most) + "]");
    return range.least;
  }
  return number;
}

int64_t ConfigFields::integer(Spellings names,
                              Range<int64_t> range,
                              std::optional<int64_t> fallback) {
  const Found found = find(names);
  if (found.value != nullptr) return checked_integer(found, range);
  if (!fallback) reject(found.name, "is missing");
  return fallback.value_or(range.least);
}

double ConfigFields::number(Spellings names, Range<double> range, std::optional<double> fallback) {
  const Found found = find(names);
  if (found.value == nullptr) {
    if (!fallback) reject(found.name, "is missing");
    return fallback.value_or(range.least);
  }
  const double value = found.value->is_number() ? found.value->get<double>() : std::nan("");
  if (value >= range.least && value <= range.most) return value;
  reject(found.name, "should be a number in [" + std::to_string(range.least) + ", " +
                         std::to_string(range.most) + "]");
  return range.least;
}

bool ConfigFields::flag(Spellings names, bool fallback) {
  const Found found = find(names);
  if (found.value == nullptr) return fallback;
  if (found.value->is_boolean()) return found.value->get<bool>();
  reject(found.name, "should be true or false");
  return fallback;
}

std::optional<std::string> ConfigFields::text(Spellings names) {
  const Found found = find(names);
  if (found.value == nullptr) return std::nullopt;
  if (found.value->is_string()) return found.value->get<std::string>();
  reject(found.name, "should be a string");
  return std::nullopt;
}

std::vector<std::string> ConfigFields::texts(Spellings names) {
  const Found found = find(names);
  std::vector<std::string> list;
  if (found.value == nullptr) return list;
  if (!found.value->is_array()) {
    reject(found.name, "should be a list of strings");
    return list;
  }
  for (const nlohmann::json& entry : *found.value) {
    if (!entry.is_string()) {
      reject(found.name, "should be a list of strings");
      return {};
    }
    list.push_back(entry.get<std::string>());
  }
  return list;
}

std::vector<int64_t> ConfigFields::integers(Spellings names, Range<int64_t> range) {
  const Found found = find(names);
  if (found.value == nullptr) return {};
  if (!found.value->is_array()) return {checked_integer(found, range)};
  std::vector<int64_t> list;
  for (const nlohmann::json& entry : *found.value) {
    list.push_back(checked_integer({.name = found.name, .value = &entry}, range));
  }
  return list;
}

}  // namespace switchyard
