// Goes through a text of lines that others wrote, one at a time and within limits.
#pragma once

#include <absl/status/status.h>

#include <cstddef>
#include <functional>
#include <istream>
#include <string_view>

namespace switchyard {

struct LineLimits {
  size_t line_bytes = 0;
  size_t lines = 0;
};

// Blank lines are left out but counted. The first failure of `take` ends it and becomes
// "line N: ...".
absl::Status for_each_line(std::istream& in,
                           const LineLimits& limits,
                           const std::function<absl::Status(std::string_view)>& take);

}  // namespace switchyard
