// Name -> Backend. The only place that knows which backends were built.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/backend.h"

namespace switchyard {

struct BackendOptions {
  int threads = 0;  // CPU: 0 takes the cores this process may run on
};

struct MadeBackend {
  std::unique_ptr<Backend> backend;  // null when it could not be made
  std::string message;               // which one was chosen and why, or what is wrong
};

// "auto" (cuda if this build has it and there is a device that it can use, else cpu), or one of
// backend_names(). Never throws.
MadeBackend make_backend(std::string_view name, const BackendOptions& options);

// What this build has: "cpu", ...
std::vector<std::string> backend_names();

// How fast the processors of this backend (its name()) read their memory, in bytes per second: what
// a memory-bound step is measured against. 0 when there is not memory enough to measure. Takes
// about a second and up to 1 GiB (cuda: 8 GiB).
double measure_read_bandwidth(std::string_view backend, const BackendOptions& options);

}  // namespace switchyard
