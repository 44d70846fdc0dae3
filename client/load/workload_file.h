// A workload as a file: every request of a load, complete, so that it can be asked again byte for
// byte by another build, against another model, or after its sources are gone.
//
//   {"switchyard_workload": 1, "seed": 7}
//   {"at_ns": 125, "class": "default", "conversation": 0, "turn": 0, ..., "request": {...}}
//
// `request` is GenerateRequest of generation.proto as protobuf writes it in JSON. Either every
// request has `at_ns`, rising, or none has; then the conversations follow each other.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <istream>
#include <ostream>
#include <vector>

#include "client/load/planned_request.h"

namespace switchyard {

class WorkloadWriter {
 public:
  // Writes the first line. The stream must outlive this; whether it took all is its state.
  WorkloadWriter(std::ostream& out, uint64_t seed);

  void add(const PlannedRequest& planned);

 private:
  std::ostream& out_;
};

struct SavedWorkload {
  uint64_t seed = 0;
  bool timed = false;
  std::vector<PlannedRequest> requests;  // in the order of the file
};

struct SavedLimits {
  size_t line_bytes = 64 << 20;
  size_t lines = 10'000'000;
};

// Fails at the first line that is wrong, and names it.
absl::StatusOr<SavedWorkload> read_workload(std::istream& in, const SavedLimits& limits);

// The conversations of a workload without times.
class SavedSource final : public ConversationSource {
 public:
  explicit SavedSource(std::vector<PlannedRequest> requests);

  std::optional<Conversation> next() override;

 private:
  std::vector<PlannedRequest> requests_;
  size_t next_ = 0;
};

}  // namespace switchyard
