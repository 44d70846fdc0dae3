#include "node/rpc.h"

namespace switchyard {

bool may_end_with(RpcKind kind, Code code) {
  if (code_name(code).empty()) return false;
  switch (code) {
    case Code::kOk:
    case Code::kCancelled:
    case Code::kNotFound:
    case Code::kUnavailable:
      return true;
    case Code::kInvalidArgument:
    case Code::kUnimplemented:
    case Code::kUnauthenticated:
    case Code::kPermissionDenied:
      return kind != RpcKind::kHealth;
    default:
      return kind == RpcKind::kAnswer;
  }
}

uint64_t calls_begun(const RpcTable& rpcs) {
  uint64_t begun = 0;
  for (size_t i = 0; i < kRpcs.size(); ++i) {
    if (kRpcs[i].access == Access::kToken) begun += rpcs[i].started;
  }
  return begun;
}

RpcMeter::RpcMeter(RpcTable& table, Rpc rpc) : counts_(table[static_cast<size_t>(rpc)]) {
  ++counts_.started;
  ++counts_.open;
}

}  // namespace switchyard
