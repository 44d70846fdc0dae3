// Reads the fields of JSON that others wrote, every one named when it is wrong. Knows no field; the
// specifications and files of a load do.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>

#include "client/load/bounded_json.h"
#include "client/load/spread.h"

namespace switchyard {

// One object's fields. A getter leaves `value` alone when the field is absent; the first thing that
// is wrong anywhere below the root is kept, and later getters still return something harmless.
class JsonFields {
 public:
  // `problem` collects the first mistake; both must outlive this. The root's `path` is empty.
  JsonFields(const nlohmann::json& object, std::string path, std::string& problem);

  bool has(std::string_view name);
  void number(std::string_view name, double& value, double least, double most);
  void integer(std::string_view name, int64_t& value, int64_t least, int64_t most);
  void integer(std::string_view name, int32_t& value, int32_t least, int32_t most);
  void flag(std::string_view name, bool& value);
  void text(std::string_view name, std::string& value, size_t most_bytes);
  // A number, or a text as Spread::parse takes it.
  void spread(std::string_view name, Spread& value, const SpreadLimits& limits);
  // Null where absent or of another type (which is a problem).
  const nlohmann::json* object(std::string_view name);
  const nlohmann::json* array(std::string_view name, size_t most);

  [[nodiscard]] std::string path_of(std::string_view name) const;
  // Something is wrong with `name`: "arrival.rate: must be in (0, 1000000]".
  void complain(std::string_view name, std::string_view what);
  // To be called last: whatever was never asked for is a problem.
  void refuse_others();

 private:
  const nlohmann::json* find(std::string_view name);

  const nlohmann::json& object_;
  const std::string path_;
  std::string& problem_;
  std::set<std::string, std::less<>> known_;
};

}  // namespace switchyard
