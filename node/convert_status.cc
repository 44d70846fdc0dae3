#include "node/convert_status.h"

#include <grpcpp/server_context.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "engine/text/unicode.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace switchyard {
namespace {

// The message travels twice, once of it percent-encoded (up to three bytes for one).
constexpr size_t kMaxMessageBytes = 512;

std::string presentable(std::string_view text) {
  Utf8Repairer repairer;
  std::string out;
  repairer.push(text.substr(0, kMaxMessageBytes), out);
  repairer.finish(out);
  return out;
}

void add_retry_info(const Status& status, google::rpc::Status& out) {
  google::rpc::RetryInfo retry;
  const auto milliseconds = status.retry_after()->count();
  retry.mutable_retry_delay()->set_seconds(milliseconds / 1000);
  retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(milliseconds % 1000 * 1'000'000));
  out.add_details()->PackFrom(retry);
}

void add_bad_request(const Status& status, google::rpc::Status& out) {
  google::rpc::BadRequest bad;
  auto& violation = *bad.add_field_violations();
  violation.set_field(status.field());
  violation.set_description(out.message());
  out.add_details()->PackFrom(bad);
}

void add_resource_info(const Status& status, google::rpc::Status& out) {
  google::rpc::ResourceInfo resource;
  resource.set_resource_type("model");
  resource.set_resource_name(presentable(status.reason()));
  resource.set_description(out.message());
  out.add_details()->PackFrom(resource);
}

void add_precondition(google::rpc::Status& out) {
  google::rpc::PreconditionFailure failure;
  auto& violation = *failure.add_violations();
  violation.set_type("CAPACITY");
  violation.set_subject("input");
  violation.set_description(out.message());
  out.add_details()->PackFrom(failure);
}

void add_error_info(const Status& status, google::rpc::Status& out) {
  google::rpc::ErrorInfo info;
  info.set_reason(status.reason().empty() ? "INTERNAL" : status.reason());
  info.set_domain("switchyard");
  out.add_details()->PackFrom(info);
}

}  // namespace

grpc::Status to_grpc(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(presentable(status.message()));
  switch (status.code()) {
    case Code::kInvalidArgument:
      add_bad_request(status, details);
      break;
    case Code::kNotFound:
      add_resource_info(status, details);
      break;
    case Code::kFailedPrecondition:
      add_precondition(details);
      break;
    default:
      if (!status.reason().empty() || status.code() == Code::kInternal) {
        add_error_info(status, details);
      }
  }
  if (status.retry_after()) add_retry_info(status, details);
  return {static_cast<grpc::StatusCode>(status.code()), details.message(),
          details.SerializeAsString()};
}

grpc::Status to_grpc(const Status& status, grpc::CallbackServerContext& context) {
  if (status.retry_after()) {
    context.AddTrailingMetadata("grpc-retry-pushback-ms",
                                std::to_string(status.retry_after()->count()));
  }
  return to_grpc(status);
}

}  // namespace switchyard
