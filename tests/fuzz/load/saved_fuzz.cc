// A hostile workload file: whatever is read can be written, and is then the same for ever.
#include <cstdint>
#include <sstream>

#include "client/load/workload_file.h"
#include "kernels/base/check.h"

namespace {

std::string written(const switchyard::SavedWorkload& workload) {
  std::ostringstream out;
  switchyard::WorkloadWriter writer(out, workload.seed);
  for (const switchyard::PlannedRequest& planned : workload.requests) writer.add(planned);
  return out.str();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  std::istringstream in(std::string(reinterpret_cast<const char*>(data), size));
  const auto workload = read_workload(in, {.line_bytes = 8192, .lines = 50});
  if (!workload.ok()) {
    CHECK(!workload.status().message().empty());
    return 0;
  }
  const std::string once = written(*workload);
  std::istringstream again_in(once);
  const auto again = read_workload(again_in, {});
  CHECK(again.ok());
  CHECK(written(*again) == once);
  SavedSource source(workload->requests);
  size_t requests = 0;
  while (const auto conversation = source.next()) requests += conversation->size();
  CHECK(requests == workload->requests.size());
  return 0;
}
