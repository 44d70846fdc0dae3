// failure("line ", 3, ": no name"): a Status that says in words what the world got wrong, for
// those who have one way on whatever its code.
#pragma once

#include <absl/status/status.h>

#include <sstream>
#include <string>

namespace switchyard {

template <typename... Parts>
absl::Status failure(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return absl::InvalidArgumentError(out.str());
}

inline std::string why(const absl::Status& status) { return std::string(status.message()); }

}  // namespace switchyard
