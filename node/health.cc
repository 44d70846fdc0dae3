#include "node/health.h"

#include <optional>

#include "kernels/base/check.h"

namespace switchyard {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using grpc::health::v1::HealthListRequest;
using grpc::health::v1::HealthListResponse;

bool is_healthy(std::string_view service, NodeState state) {
  if (service == "startup") return state != NodeState::kStarting;
  if (service == "liveness") return state != NodeState::kFailed;
  return state == NodeState::kReady;
}

// One Watch stream. All of it is guarded by the service's lock; deletes itself when gRPC is done.
class HealthService::Watcher final : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  Watcher(HealthService& health, std::string service)
      : health_(health), meter_(health.rpcs_, Rpc::kHealthWatch), service_(std::move(service)) {
    std::lock_guard lock(health_.mutex_);
    health_.watchers_.insert(this);
    tell();
    if (health_.ended_) end(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the node is stopping"));
  }

  // With the lock held, as end().
  void tell() {
    if (writing_ || ended_) return;
    const ServingStatus status = health_.status_of(service_);
    if (status == told_) return;
    told_ = status;
    message_.set_status(status);
    writing_ = true;
    meter_.sent(message_.ByteSizeLong());
    StartWrite(&message_);
  }
  void end(const grpc::Status& status) {
    if (ended_) return;
    ended_ = true;
    meter_.ended(static_cast<Code>(status.error_code()));
    Finish(status);
  }

 private:
  void OnWriteDone(bool ok) override {
    std::lock_guard lock(health_.mutex_);
    writing_ = false;
    if (ok) {
      tell();
    } else {
      end(grpc::Status::CANCELLED);
    }
  }
  void OnCancel() override {
    std::lock_guard lock(health_.mutex_);
    end(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    {
      std::lock_guard lock(health_.mutex_);
      health_.watchers_.erase(this);
    }
    delete this;
  }

  HealthService& health_;
  RpcMeter meter_;
  const std::string service_;
  HealthCheckResponse message_;
  std::optional<ServingStatus> told_;
  bool writing_ = false;
  bool ended_ = false;
};

HealthService::HealthService(RpcTable& rpcs,
                             const std::vector<std::string_view>& services,
                             NodeState state)
    : rpcs_(rpcs) {
  for (const char* name : {"", "startup", "readiness", "liveness"}) healthy_[name] = false;
  for (const std::string_view name : services) healthy_[std::string(name)] = false;
  set(state);
}

HealthService::~HealthService() { CHECK(watchers_.empty()); }

void HealthService::set(NodeState state) {
  std::lock_guard lock(mutex_);
  for (auto& [service, healthy] : healthy_) healthy = is_healthy(service, state);
  for (Watcher* watcher : watchers_) watcher->tell();
}

void HealthService::end_watches() {
  std::lock_guard lock(mutex_);
  ended_ = true;
  for (Watcher* watcher : watchers_) {
    watcher->end(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the node is stopping"));
  }
}

HealthService::ServingStatus HealthService::status_of(const std::string& service) const {
  const auto it = healthy_.find(service);
  if (it == healthy_.end()) return HealthCheckResponse::SERVICE_UNKNOWN;
  return it->second ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context,
                                               const HealthCheckRequest* request,
                                               HealthCheckResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  RpcMeter meter(rpcs_, Rpc::kHealthCheck);
  meter.received(request->ByteSizeLong());
  ServingStatus status{};
  {
    std::lock_guard lock(mutex_);
    status = status_of(request->service());
  }
  response->set_status(status);
  meter.sent(response->ByteSizeLong());
  meter.ended(status == HealthCheckResponse::SERVICE_UNKNOWN ? Code::kNotFound : Code::kOk);
  reactor->Finish(status == HealthCheckResponse::SERVICE_UNKNOWN
                      ? grpc::Status(grpc::StatusCode::NOT_FOUND, "unknown service")
                      : grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* HealthService::List(grpc::CallbackServerContext* context,
                                              const HealthListRequest* /*request*/,
                                              HealthListResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  RpcMeter meter(rpcs_, Rpc::kHealthList);
  {
    std::lock_guard lock(mutex_);
    for (const auto& [service, healthy] : healthy_) {
      (*response->mutable_statuses())[service].set_status(status_of(service));
    }
  }
  meter.sent(response->ByteSizeLong());
  meter.ended(Code::kOk);
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(
    grpc::CallbackServerContext* /*context*/, const HealthCheckRequest* request) {
  return new Watcher(*this, request->service().substr(0, kMaxServiceNameBytes));
}

}  // namespace switchyard
