// Every RPC that we answer, in one table: what it is called and who may call it. And what is
// counted of each. Reflection and channelz are the library's and are not in it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "engine/base/result.h"

namespace switchyard {

// Those that ask for an answer come first: AnswerMethod has the same values.
enum class Rpc {
  kGenerate,
  kGenerateStream,
  kComplete,
  kCompleteStream,
  kTokenize,
  kDetokenize,
  kRenderChat,
  kListModels,
  kGetModel,
  kGetNodeInfo,
  kGetLoad,
  kListInFlight,
  kAbort,
  kDrain,
  kHealthCheck,
  kHealthList,
  kHealthWatch,
  kStreamCoreMetrics,
};

// Whose calls need a token, where the node knows tokens. Open: what probes and balancers ask, who
// have none, and what only the admin listener has.
enum class Access { kToken, kOpen };

// Which codes a call can end with, so that its counters are there before the first.
enum class RpcKind { kAnswer, kLookUp, kHealth };

struct RpcInfo {
  std::string_view service;
  std::string_view method;
  Access access;
  RpcKind kind;
};

inline constexpr std::string_view kGenerationService = "switchyard.v1.GenerationService";
inline constexpr std::string_view kChatService = "switchyard.v1.ChatService";
inline constexpr std::string_view kModelService = "switchyard.v1.ModelService";
inline constexpr std::string_view kTelemetryService = "switchyard.v1.TelemetryService";
inline constexpr std::string_view kAdminService = "switchyard.v1.AdminService";
inline constexpr std::string_view kHealthService = "grpc.health.v1.Health";
inline constexpr std::string_view kOrcaService = "xds.service.orca.v3.OpenRcaService";

inline constexpr std::array kRpcs = {
    RpcInfo{kGenerationService, "Generate", Access::kToken, RpcKind::kAnswer},
    RpcInfo{kGenerationService, "GenerateStream", Access::kToken, RpcKind::kAnswer},
    RpcInfo{kChatService, "Complete", Access::kToken, RpcKind::kAnswer},
    RpcInfo{kChatService, "CompleteStream", Access::kToken, RpcKind::kAnswer},
    RpcInfo{kGenerationService, "Tokenize", Access::kToken, RpcKind::kLookUp},
    RpcInfo{kGenerationService, "Detokenize", Access::kToken, RpcKind::kLookUp},
    RpcInfo{kGenerationService, "RenderChat", Access::kToken, RpcKind::kLookUp},
    RpcInfo{kModelService, "ListModels", Access::kToken, RpcKind::kLookUp},
    RpcInfo{kModelService, "GetModel", Access::kToken, RpcKind::kLookUp},
    RpcInfo{kTelemetryService, "GetNodeInfo", Access::kToken, RpcKind::kLookUp},
    RpcInfo{kTelemetryService, "GetLoad", Access::kToken, RpcKind::kLookUp},
    RpcInfo{kAdminService, "ListInFlight", Access::kOpen, RpcKind::kLookUp},
    RpcInfo{kAdminService, "Abort", Access::kOpen, RpcKind::kLookUp},
    RpcInfo{kAdminService, "Drain", Access::kOpen, RpcKind::kLookUp},
    RpcInfo{kHealthService, "Check", Access::kOpen, RpcKind::kHealth},
    RpcInfo{kHealthService, "List", Access::kOpen, RpcKind::kHealth},
    RpcInfo{kHealthService, "Watch", Access::kOpen, RpcKind::kHealth},
    RpcInfo{kOrcaService, "StreamCoreMetrics", Access::kOpen, RpcKind::kHealth},
};

constexpr const RpcInfo& info_of(Rpc rpc) { return kRpcs[static_cast<size_t>(rpc)]; }

// google.rpc's names by number; empty: we end no call so.
inline constexpr std::array<std::string_view, 17> kCodeNames = {"OK",
                                                                "CANCELLED",
                                                                "",
                                                                "INVALID_ARGUMENT",
                                                                "DEADLINE_EXCEEDED",
                                                                "NOT_FOUND",
                                                                "",
                                                                "PERMISSION_DENIED",
                                                                "RESOURCE_EXHAUSTED",
                                                                "FAILED_PRECONDITION",
                                                                "ABORTED",
                                                                "",
                                                                "UNIMPLEMENTED",
                                                                "INTERNAL",
                                                                "UNAVAILABLE",
                                                                "",
                                                                "UNAUTHENTICATED"};
constexpr std::string_view code_name(Code code) { return kCodeNames[static_cast<size_t>(code)]; }
// Of a call of this kind, in numbers of kCodeNames.
bool may_end_with(RpcKind kind, Code code);

// Of one RPC, on both listeners together. Any thread.
struct RpcCounts {
  std::atomic<uint64_t> started{0};
  std::array<std::atomic<uint64_t>, kCodeNames.size()> handled{};  // by code
  std::atomic<uint64_t> received_bytes{0}, sent_bytes{0};          // of messages, without headers
  std::atomic<int64_t> open{0};
};
using RpcTable = std::array<RpcCounts, kRpcs.size()>;

// Calls begun so far, but for those of probes, balancers and operators.
uint64_t calls_begun(const RpcTable& rpcs);

// Counts one call from here to its destruction. One thread at a time.
class RpcMeter {
 public:
  RpcMeter(RpcTable& table, Rpc rpc);
  RpcMeter(const RpcMeter&) = delete;
  RpcMeter& operator=(const RpcMeter&) = delete;
  ~RpcMeter() { --counts_.open; }

  void received(size_t bytes) { counts_.received_bytes += bytes; }
  void sent(size_t bytes) { counts_.sent_bytes += bytes; }
  void ended(Code code) { ++counts_.handled[static_cast<size_t>(code)]; }  // once

 private:
  RpcCounts& counts_;
};

}  // namespace switchyard
