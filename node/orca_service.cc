#include "node/orca_service.h"

#include <algorithm>

#include "kernels/base/check.h"

namespace switchyard {

using xds::data::orca::v3::OrcaLoadReport;
using xds::service::orca::v3::OrcaLoadReportRequest;

namespace {

Duration interval_of(const OrcaLoadReportRequest& request) {
  constexpr int64_t kLongestSeconds = 3600;
  const auto& asked = request.report_interval();
  if (!request.has_report_interval() || asked.seconds() < 0 || asked.nanos() < 0 ||
      (asked.seconds() == 0 && asked.nanos() == 0)) {
    return OrcaService::kUsual;
  }
  if (asked.seconds() >= kLongestSeconds) return std::chrono::seconds(kLongestSeconds);
  const Duration interval =
      std::chrono::seconds(asked.seconds()) + std::chrono::nanoseconds(asked.nanos());
  return std::max(interval, OrcaService::kShortest);
}

}  // namespace

// One stream. All of it is guarded by the service's lock; deletes itself when gRPC is done.
class OrcaService::Listener final : public grpc::ServerWriteReactor<OrcaLoadReport> {
 public:
  Listener(OrcaService& service, Duration interval)
      : service_(service),
        meter_(service.rpcs_, Rpc::kStreamCoreMetrics),
        interval_(interval),
        due_(service.clock_.now()) {
    std::lock_guard lock(service_.mutex_);
    service_.listeners_.insert(this);
    if (service_.ended_) {
      end(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the node is stopping"));
    } else {
      tell(due_);
    }
  }

  // With the lock held, as end(). A reader who has not taken the last report misses this one.
  void tell(TimePoint now) {
    if (writing_ || ended_ || now < due_) return;
    const std::string serialized = service_.reporter_.serialized();
    CHECK(report_.ParseFromString(serialized));
    due_ = now + interval_;
    writing_ = true;
    meter_.sent(serialized.size());
    StartWrite(&report_);
  }
  void end(const grpc::Status& status) {
    if (ended_) return;
    ended_ = true;
    meter_.ended(static_cast<Code>(status.error_code()));
    Finish(status);
  }

 private:
  void OnWriteDone(bool ok) override {
    std::lock_guard lock(service_.mutex_);
    writing_ = false;
    if (!ok) end(grpc::Status::CANCELLED);
  }
  void OnCancel() override {
    std::lock_guard lock(service_.mutex_);
    end(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    {
      std::lock_guard lock(service_.mutex_);
      service_.listeners_.erase(this);
    }
    delete this;
  }

  OrcaService& service_;
  RpcMeter meter_;
  const Duration interval_;
  TimePoint due_;
  OrcaLoadReport report_;
  bool writing_ = false;
  bool ended_ = false;
};

OrcaService::~OrcaService() { CHECK(listeners_.empty()); }

void OrcaService::tick() {
  const TimePoint now = clock_.now();
  std::lock_guard lock(mutex_);
  for (Listener* listener : listeners_) listener->tell(now);
}

void OrcaService::end_streams() {
  std::lock_guard lock(mutex_);
  ended_ = true;
  for (Listener* listener : listeners_) {
    listener->end(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the node is stopping"));
  }
}

grpc::ServerWriteReactor<OrcaLoadReport>* OrcaService::StreamCoreMetrics(
    grpc::CallbackServerContext* /*context*/, const OrcaLoadReportRequest* request) {
  return new Listener(*this, interval_of(*request));
}

}  // namespace switchyard
