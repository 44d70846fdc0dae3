#include "client/rpc/status_details.h"

#include <algorithm>
#include <cstdio>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace switchyard {
namespace {

std::chrono::milliseconds to_milliseconds(const google::protobuf::Duration& duration) {
  // Hostile values must not overflow; a day is as good as forever here.
  constexpr int64_t kDaySeconds = 86'400;
  const int64_t seconds = std::clamp<int64_t>(duration.seconds(), 0, kDaySeconds);
  const int32_t nanoseconds = std::clamp(duration.nanos(), 0, 999'999'999);
  return std::chrono::milliseconds(seconds * 1000 + nanoseconds / 1'000'000);
}

std::string headline(const grpc::Status& status, std::string_view target) {
  const std::string node = "the node at " + std::string(target);
  switch (status.error_code()) {
    case grpc::StatusCode::INVALID_ARGUMENT:
      return node + " refused the request";
    case grpc::StatusCode::NOT_FOUND:
      return node + " does not have what was asked for";
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return node + " has no room for the request now";
    case grpc::StatusCode::FAILED_PRECONDITION:
      return node + " cannot serve this request";
    case grpc::StatusCode::UNAVAILABLE:
      return "no answer from " + node;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return "the time limit passed before " + node + " had answered";
    case grpc::StatusCode::CANCELLED:
      return "cancelled";
    case grpc::StatusCode::ABORTED:
      return node + " ended the request early";
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      return node + " did not let the call in";
    case grpc::StatusCode::UNIMPLEMENTED:
      return node + " cannot do this";
    default:
      return node + " failed";
  }
}

}  // namespace

StatusDetails parse_details(const grpc::Status& status) {
  StatusDetails details;
  google::rpc::Status packed;
  if (!packed.ParseFromString(status.error_details())) return details;
  for (const google::protobuf::Any& any : packed.details()) {
    if (google::rpc::BadRequest bad; any.Is<google::rpc::BadRequest>() && any.UnpackTo(&bad)) {
      for (const auto& violation : bad.field_violations()) {
        details.field_violations.push_back({violation.field(), violation.description()});
      }
    } else if (google::rpc::PreconditionFailure failure;
               any.Is<google::rpc::PreconditionFailure>() && any.UnpackTo(&failure)) {
      for (const auto& violation : failure.violations()) {
        details.failed_preconditions.push_back(violation.description());
      }
    } else if (google::rpc::ErrorInfo info;
               any.Is<google::rpc::ErrorInfo>() && any.UnpackTo(&info)) {
      details.reason = info.reason();
    } else if (google::rpc::ResourceInfo resource;
               any.Is<google::rpc::ResourceInfo>() && any.UnpackTo(&resource)) {
      details.resource = resource.resource_type() + " " + resource.resource_name();
    } else if (google::rpc::RetryInfo retry;
               any.Is<google::rpc::RetryInfo>() && any.UnpackTo(&retry)) {
      details.retry_after = to_milliseconds(retry.retry_delay());
    }
  }
  return details;
}

std::string describe(const grpc::Status& status, std::string_view target) {
  const StatusDetails details = parse_details(status);
  std::string text = headline(status, target) + ": " + status.error_message();
  for (const FieldViolation& violation : details.field_violations) {
    text += "\n  " + violation.field + ": " + violation.description;
  }
  for (const std::string& failed : details.failed_preconditions) text += "\n  " + failed;
  if (!details.resource.empty()) text += "\n  not found: " + details.resource;
  if (!details.reason.empty()) text += "\n  reason: " + details.reason;
  if (details.retry_after) {
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.1f",
                  static_cast<double>(details.retry_after->count()) / 1000);
    text += "\n  the node asks to try again in " + std::string(seconds) + " s";
  }
  return text;
}

}  // namespace switchyard
