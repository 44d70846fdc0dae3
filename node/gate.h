// Gate: lets a call in, and says whose it is. The only place that looks at a caller's token.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "node/rpc.h"
#include "node/tokens.h"

namespace grpc {
class CallbackServerContext;
}

namespace switchyard {

// Any thread.
class Gate {
 public:
  // kOpen: nobody needs a token. kToken: whoever calls an RPC of Access::kToken does, and until the
  // first publish() nobody has one.
  explicit Gate(Access access) : access_(access) {}

  void publish(std::shared_ptr<const Tokens> tokens);

  // The tenant, empty where no token is asked for. unauthenticated without a bearer token,
  // permission_denied with one that is not known.
  [[nodiscard]] Result<std::string> admit(Rpc rpc,
                                          const grpc::CallbackServerContext& context) const;
  // The same of an `authorization` value, where the call has one.
  [[nodiscard]] Result<std::string> admit(Rpc rpc,
                                          std::optional<std::string_view> authorization) const;

 private:
  const Access access_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Tokens> tokens_;  // guarded by mutex_
};

}  // namespace switchyard
