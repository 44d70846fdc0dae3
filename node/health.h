// grpc.health.v1: Check, List and Watch of one listener.
// Knows which service is healthy in which state of the node; finding the state is others' work.
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "grpc/health/v1/health.grpc.pb.h"
#include "node/metrics.h"
#include "node/rpc.h"

namespace switchyard {

// "startup" is healthy from the first time the node is loaded, "liveness" unless it has failed, and
// everything else ("", "readiness", each gRPC service) exactly while it is ready.
bool is_healthy(std::string_view service, NodeState state);

// Any thread.
class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  // `services`: the names of gRPC services on this listener. `rpcs` must outlive it.
  HealthService(RpcTable& rpcs, const std::vector<std::string_view>& services, NodeState state);
  ~HealthService() override;  // no stream is open any more

  // Watchers whose service changed are told.
  void set(NodeState state);
  // Ends all streams; set() does nothing to those that come later.
  void end_watches();

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::health::v1::HealthCheckRequest* request,
                                  grpc::health::v1::HealthCheckResponse* response) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const grpc::health::v1::HealthListRequest* request,
                                 grpc::health::v1::HealthListResponse* response) override;
  grpc::ServerWriteReactor<grpc::health::v1::HealthCheckResponse>* Watch(
      grpc::CallbackServerContext* context,
      const grpc::health::v1::HealthCheckRequest* request) override;

 private:
  class Watcher;
  using ServingStatus = grpc::health::v1::HealthCheckResponse::ServingStatus;
  static constexpr size_t kMaxServiceNameBytes = 200;

  // With the lock held.
  [[nodiscard]] ServingStatus status_of(const std::string& service) const;

  RpcTable& rpcs_;
  std::mutex mutex_;  // guards everything below, and the watchers
  std::map<std::string, bool> healthy_;
  std::set<Watcher*> watchers_;
  bool ended_ = false;
};

}  // namespace switchyard
