#include "node/gate.h"

#include <grpcpp/server_context.h>

#include <utility>

namespace switchyard {

void Gate::publish(std::shared_ptr<const Tokens> tokens) {
  std::lock_guard lock(mutex_);
  tokens_ = std::move(tokens);
}

Result<std::string> Gate::admit(Rpc rpc, const grpc::CallbackServerContext& context) const {
  const auto [first, last] = context.client_metadata().equal_range("authorization");
  if (first == last || std::next(first) != last) return admit(rpc, std::nullopt);
  return admit(rpc, std::string_view(first->second.data(), first->second.size()));
}

Result<std::string> Gate::admit(Rpc rpc, std::optional<std::string_view> authorization) const {
  if (access_ == Access::kOpen || info_of(rpc).access == Access::kOpen) return std::string();
  const std::optional<std::string_view> token =
      authorization ? bearer_token(*authorization) : std::nullopt;
  if (!token) {
    return Status(Code::kUnauthenticated,
                  "this node asks for a token: one metadata entry \"authorization\" with the value "
                  "\"Bearer TOKEN\"");
  }
  std::shared_ptr<const Tokens> tokens;
  {
    std::lock_guard lock(mutex_);
    tokens = tokens_;
  }
  const std::optional<std::string_view> tenant =
      tokens != nullptr ? tokens->tenant_of(*token) : std::nullopt;
  if (!tenant) return Status(Code::kPermissionDenied, "the token is not one of this node's");
  return std::string(*tenant);
}

}  // namespace switchyard
