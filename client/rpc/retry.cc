#include "client/rpc/retry.h"

#include "client/rpc/status_details.h"

namespace switchyard {

std::optional<std::chrono::milliseconds> retry_delay(const grpc::Status& status,
                                                     int attempts_made,
                                                     const RetryRules& rules,
                                                     std::mt19937_64& random) {
  if (attempts_made > rules.more_attempts) return std::nullopt;
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE &&
      status.error_code() != grpc::StatusCode::RESOURCE_EXHAUSTED) {
    return std::nullopt;
  }
  const std::optional<std::chrono::milliseconds> asked = parse_details(status).retry_after;
  if (!asked || *asked > rules.longest_wait) return std::nullopt;
  int64_t window = rules.first_window.count();
  for (int i = 1; i < attempts_made && window < rules.longest_wait.count(); ++i) window *= 2;
  std::uniform_int_distribution<int64_t> jitter(0, window);
  return *asked + std::chrono::milliseconds(jitter(random));
}

}  // namespace switchyard
