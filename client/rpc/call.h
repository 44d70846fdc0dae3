// Runs one RPC to its end: deadline, cancellation, and retries while nothing has arrived.
// Works over the generated stubs; knows no particular RPC.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>
#include <grpcpp/support/sync_stream.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "client/rpc/cancel_token.h"
#include "client/rpc/retry.h"

namespace switchyard {

struct CallOptions {
  std::optional<std::chrono::milliseconds> timeout;  // of the whole call, retries included
  RetryRules retry;
};

// How one attempt ended. Once a message has arrived, asking again would repeat what was shown.
struct Attempt {
  grpc::Status status;
  enum class Progress { kNothingArrived, kMessagesArrived } progress = Progress::kNothingArrived;
};

// The calling thread runs each attempt and waits between them; another may cancel the token.
grpc::Status run_attempts(const CallOptions& options,
                          CancelToken& cancel,
                          const std::function<Attempt(grpc::ClientContext&)>& attempt);

// `ask` makes the blocking call: [&](auto& context) { return stub->Get(&context, ask, &answer); }
template <typename Ask>
grpc::Status call_unary(const CallOptions& options, CancelToken& cancel, const Ask& ask) {
  return run_attempts(options, cancel, [&](grpc::ClientContext& context) {
    return Attempt{ask(context), Attempt::Progress::kNothingArrived};
  });
}

// `open` starts the stream: [&](auto& context) { return stub->Watch(&context, ask); }
// `take` gets each message on this thread; a failure of its own ends the call and is the result.
template <typename Message, typename Open>
grpc::Status call_stream(const CallOptions& options,
                         CancelToken& cancel,
                         const Open& open,
                         const std::function<grpc::Status(const Message&)>& take) {
  return run_attempts(options, cancel, [&](grpc::ClientContext& context) {
    const std::unique_ptr<grpc::ClientReader<Message>> reader = open(context);
    auto progress = Attempt::Progress::kNothingArrived;
    grpc::Status refused;
    Message message;
    while (refused.ok() && reader->Read(&message)) {
      progress = Attempt::Progress::kMessagesArrived;
      refused = take(message);
    }
    if (!refused.ok()) context.TryCancel();
    const grpc::Status ended = reader->Finish();
    return Attempt{refused.ok() ? ended : refused, progress};
  });
}

}  // namespace switchyard
