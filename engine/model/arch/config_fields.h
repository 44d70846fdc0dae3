// ConfigFields: typed, range-checked reads from a parsed config.json. The first mistake is kept and
// later reads go on with harmless values, so that a family reads all its fields and asks once.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"

namespace switchyard {

template <typename Number>
struct Range {
  Number least;
  Number most;
};

// Where a field may be found, in order of preference; "a.b" is b within the object a. null counts
// as absent.
using Spellings = std::initializer_list<std::string_view>;

class ConfigFields {
 public:
  // `object` must outlive it, and be an object.
  explicit ConfigFields(const nlohmann::json& object) : object_(object) {}

  [[nodiscard]] const Status& status() const { return status_; }
  // Keeps a mistake that is found later than the read.
  void reject(std::string_view field, std::string_view what);

  // `fallback`: what an absent field means; none: it must be there.
  int64_t integer(Spellings names, Range<int64_t> range, std::optional<int64_t> fallback = {});
  double number(Spellings names, Range<double> range, std::optional<double> fallback = {});
  bool flag(Spellings names, bool fallback);
  std::optional<std::string> text(Spellings names);
  std::vector<std::string> texts(Spellings names);
  // A list of integers, or one integer for a list of one; empty when absent.
  std::vector<int64_t> integers(Spellings names, Range<int64_t> range);

  [[nodiscard]] bool has(Spellings names) const { return find(names).value != nullptr; }
  // Whether the field is there and says null.
  [[nodiscard]] bool is_null(std::string_view name) const;

 private:
  struct Found {
    std::string_view name;                  // the spelling in the file; the first one if absent
    const nlohmann::json* value = nullptr;  // null: absent
  };
  [[nodiscard]] Found find(Spellings names) const;
  int64_t checked_integer(const Found& found, Range<int64_t> range);

  const nlohmann::json& object_;
  Status status_;
};

}  // namespace switchyard
