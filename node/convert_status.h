// Status to grpc::Status, with google.rpc details in its trailers. Pure.
#pragma once

#include <grpcpp/support/status.h>

#include "engine/base/result.h"

namespace grpc {
class CallbackServerContext;
}

namespace switchyard {

// Details by code: BadRequest (invalid_argument), ResourceInfo (not_found; Status::reason is then
// the name of the model), PreconditionFailure (failed_precondition), RetryInfo wherever the Status
// says when to retry, ErrorInfo wherever it has a reason. Messages are cut and made UTF-8, so that
// trailers stay within gRPC's default limit of 8 KiB.
grpc::Status to_grpc(const Status& status);

// The same, and the grpc-retry-pushback-ms trailer (gRFC A6) if it is worth a retry.
grpc::Status to_grpc(const Status& status, grpc::CallbackServerContext& context);

}  // namespace switchyard
