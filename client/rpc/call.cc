#include "client/rpc/call.h"

#include <random>

namespace switchyard {

using SystemClock = std::chrono::system_clock;

grpc::Status run_attempts(const CallOptions& options,
                          CancelToken& cancel,
                          const std::function<Attempt(grpc::ClientContext&)>& attempt) {
  const SystemClock::time_point deadline =
      options.timeout ? SystemClock::now() + *options.timeout : SystemClock::time_point::max();
  std::mt19937_64 random{std::random_device{}()};

  for (int attempts_made = 1;; ++attempts_made) {
    Attempt ended;
    {
      grpc::ClientContext context;  // gRPC wants a new one for each attempt
      if (options.timeout) context.set_deadline(deadline);
      const CancelToken::Attachment attachment(cancel, context);
      ended = attempt(context);
    }
    if (ended.status.ok() || ended.progress == Attempt::Progress::kMessagesArrived) {
      return ended.status;
    }
    const auto delay = retry_delay(ended.status, attempts_made, options.retry, random);
    if (!delay || deadline - SystemClock::now() <= *delay) return ended.status;
    if (!cancel.wait_for(*delay)) return {grpc::StatusCode::CANCELLED, "cancelled by the caller"};
  }
}

}  // namespace switchyard
