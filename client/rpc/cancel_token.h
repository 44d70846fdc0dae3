// CancelToken: lets one thread end the call that another thread is in.
// Knows one running call at a time; knows nothing of signals (client/cli/interrupt.h).
#pragma once

#include <grpcpp/client_context.h>

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace switchyard {

class CancelToken {
 public:
  // Any thread. Ends the running call with CANCELLED, and each later one before it starts.
  void cancel();
  [[nodiscard]] bool cancelled() const;

  // False as soon as the token is cancelled, true when the time has passed.
  [[nodiscard]] bool wait_for(std::chrono::milliseconds duration);

  // While it lives, cancel() reaches this call. At most one at a time.
  class Attachment {
   public:
    Attachment(CancelToken& token, grpc::ClientContext& context);
    ~Attachment();
    Attachment(const Attachment&) = delete;
    Attachment& operator=(const Attachment&) = delete;

   private:
    CancelToken& token_;
  };

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool cancelled_ = false;                  // under mutex_
  grpc::ClientContext* running_ = nullptr;  // under mutex_
};

}  // namespace switchyard
