// What a node says about a failure beside its code: the google.rpc details of a status as plain
// values, and the whole failure in words for a person. Decides nothing (retry.h does).
#pragma once

#include <grpcpp/support/status.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard {

struct FieldViolation {
  std::string field;        // as the API spells it: "sampling.temperature"
  std::string description;  // what is wrong with it
};

struct StatusDetails {
  std::vector<FieldViolation> field_violations;
  std::vector<std::string> failed_preconditions;
  std::string reason;    // a stable token such as QUEUE_FULL
  std::string resource;  // what was not found
  std::optional<std::chrono::milliseconds> retry_after;
};

// Details that cannot be read count as absent: they come from another process.
StatusDetails parse_details(const grpc::Status& status);

// "the node refused the request: ..." and a line for each detail; no newline at the end.
// `target` is the node's address as the caller gave it.
std::string describe(const grpc::Status& status, std::string_view target);

}  // namespace switchyard
