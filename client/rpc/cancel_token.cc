#include "client/rpc/cancel_token.h"

namespace switchyard {

void CancelToken::cancel() {
  std::lock_guard lock(mutex_);
  cancelled_ = true;
  if (running_ != nullptr) running_->TryCancel();
  changed_.notify_all();
}

bool CancelToken::cancelled() const {
  std::lock_guard lock(mutex_);
  return cancelled_;
}

bool CancelToken::wait_for(std::chrono::milliseconds duration) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, duration, [&] { return cancelled_; });
}

CancelToken::Attachment::Attachment(CancelToken& token, grpc::ClientContext& context)
    : token_(token) {
  std::lock_guard lock(token_.mutex_);
  token_.running_ = &context;
  // gRPC remembers a cancel that comes before the call starts.
  if (token_.cancelled_) context.TryCancel();
}

CancelToken::Attachment::~Attachment() {
  std::lock_guard lock(token_.mutex_);
  token_.running_ = nullptr;
}

}  // namespace switchyard
