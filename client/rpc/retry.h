// When a failed call may be asked again, and after how long. Decides; client/rpc/call.h does.
#pragma once

#include <grpcpp/support/status.h>

#include <chrono>
#include <optional>
#include <random>

namespace switchyard {

struct RetryRules {
  int more_attempts = 2;
  std::chrono::milliseconds first_window{100};     // doubles with every attempt
  std::chrono::milliseconds longest_wait{10'000};  // a node that asks for more is not asked again
};

// How long to wait before attempt `attempts_made` + 1; nothing: the status is final.
// Only UNAVAILABLE and RESOURCE_EXHAUSTED, and only when the node said when to come back: gRPC
// itself uses the same codes for a refused connection and for a message over its limit, which the
// next attempt would meet again. The wait is the node's delay plus full jitter (uniform in the
// window), so that refused callers do not come back together.
std::optional<std::chrono::milliseconds> retry_delay(const grpc::Status& status,
                                                     int attempts_made,
                                                     const RetryRules& rules,
                                                     std::mt19937_64& random);

}  // namespace switchyard
