#include "client/load/json_fields.h"

#include <cmath>
#include <utility>

#include "client/load/failure.h"
#include "client/load/words.h"

namespace switchyard {
namespace {

const nlohmann::json& nothing() {
  static const nlohmann::json empty = nlohmann::json::object();
  return empty;
}

}  // namespace

JsonFields::JsonFields(const nlohmann::json& object, std::string path, std::string& problem)
    : object_(object.is_object() ? object : nothing()), path_(std::move(path)), problem_(problem) {
  if (!object.is_object() && problem_.empty()) {
    problem_ = words(path_.empty() ? "it" : path_, ": must be an object");
  }
}

std::string JsonFields::path_of(std::string_view name) const {
  return path_.empty() ? std::string(name) : words(path_, ".", name);
}

void JsonFields::complain(std::string_view name, std::string_view what) {
  if (problem_.empty()) problem_ = words(path_of(name), ": ", what);
}

const nlohmann::json* JsonFields::find(std::string_view name) {
  known_.emplace(name);
  const auto found = object_.find(std::string(name));
  return found == object_.end() ? nullptr : &*found;
}

bool JsonFields::has(std::string_view name) { return find(name) != nullptr; }

void JsonFields::number(std::string_view name, double& value, double least, double most) {
  const nlohmann::json* field = find(name);
  if (field == nullptr) return;
  if (!field->is_number()) return complain(name, "must be a number");
  const auto got = field->get<double>();
  if (!(got >= least && got <= most)) {
    return complain(name, words("is ", got, ", must be in [", least, ", ", most, "]"));
  }
  value = got;
}

void JsonFields::integer(std::string_view name, int64_t& value, int64_t least, int64_t most) {
  const nlohmann::json* field = find(name);
  if (field == nullptr) return;
  if (!field->is_number_integer()) return complain(name, "must be a whole number");
  const bool huge = field->is_number_unsigned() && field->get<uint64_t>() > INT64_MAX;
  const int64_t got = huge ? INT64_MAX : field->get<int64_t>();
  if (huge || got < least || got > most) {
    return complain(name, words("is ", huge ? field->dump() : words(got), ", must be in [", least,
                                ", ", most, "]"));
  }
  value = got;
}

void JsonFields::integer(std::string_view name, int32_t& value, int32_t least, int32_t most) {
  int64_t wide = value;
  integer(name, wide, static_cast<int64_t>(least), static_cast<int64_t>(most));
  value = static_cast<int32_t>(wide);
}

void JsonFields::flag(std::string_view name, bool& value) {
  const nlohmann::json* field = find(name);
  if (field == nullptr) return;
  if (!field->is_boolean()) return complain(name, "must be true or false");
  value = field->get<bool>();
}

void JsonFields::text(std::string_view name, std::string& value, size_t most_bytes) {
  const nlohmann::json* field = find(name);
  if (field == nullptr) return;
  if (!field->is_string()) return complain(name, "must be a text");
  const auto& got = field->get_ref<const std::string&>();
  if (got.size() > most_bytes) {
    return complain(name, words("has ", got.size(), " bytes, limit ", most_bytes));
  }
  value = got;
}

void JsonFields::spread(std::string_view name, Spread& value, const SpreadLimits& limits) {
  const nlohmann::json* field = find(name);
  if (field == nullptr) return;
  if (!field->is_number_integer() && !field->is_string()) {
    return complain(name, "must be a whole number or a text such as uniform:LOW:HIGH");
  }
  const auto parsed = Spread::parse(
      field->is_string() ? field->get_ref<const std::string&>() : field->dump(), limits);
  if (!parsed.ok()) return complain(name, why(parsed.status()));
  value = *parsed;
}

const nlohmann::json* JsonFields::object(std::string_view name) {
  const nlohmann::json* field = find(name);
  if (field != nullptr && !field->is_object()) {
    complain(name, "must be an object");
    return nullptr;
  }
  return field;
}

const nlohmann::json* JsonFields::array(std::string_view name, size_t most) {
  const nlohmann::json* field = find(name);
  if (field == nullptr) return nullptr;
  if (!field->is_array()) return complain(name, "must be a list"), nullptr;
  if (field->size() > most) {
    return complain(name, words("has ", field->size(), " entries, limit ", most)), nullptr;
  }
  return field;
}

void JsonFields::refuse_others() {
  for (const auto& [name, value] : object_.items()) {
    if (known_.contains(name)) continue;
    std::string list;
    for (const std::string& known : known_) list += (list.empty() ? "" : ", ") + known;
    return complain(name.substr(0, 60), words("is not known here; there are ", list));
  }
}

}  // namespace switchyard
