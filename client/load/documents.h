// Goes through JSON documents that others wrote, one at a time and within limits: one a line, or
// the elements of one array, which is never held as a whole.
#pragma once

#include <absl/status/status.h>

#include <cstddef>
#include <functional>
#include <istream>

#include "client/load/bounded_json.h"

namespace switchyard {

struct DocumentLimits {
  size_t bytes = 16 << 20;  // of each
  size_t count = 10'000'000;
};

// A text that begins with '[' is an array, any other lines, of which the blank ones are left out.
// The first failure of `take` ends it and becomes "line N: ..." or "element N: ...".
absl::Status for_each_document(std::istream& in,
                               const DocumentLimits& limits,
                               const std::function<absl::Status(const nlohmann::json&)>& take);

}  // namespace switchyard
