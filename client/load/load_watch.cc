#include "client/load/load_watch.h"

#include <chrono>

#include "client/rpc/call.h"
#include "xds/service/orca/v3/orca.grpc.pb.h"

namespace switchyard {
namespace {

using xds::data::orca::v3::OrcaLoadReport;
using xds::service::orca::v3::OpenRcaService;
using xds::service::orca::v3::OrcaLoadReportRequest;

constexpr std::chrono::milliseconds kBetweenReports{250};
constexpr std::chrono::milliseconds kBetweenStreams{1000};

}  // namespace

LoadWatch::LoadWatch(std::vector<std::shared_ptr<grpc::Channel>> targets) {
  for (std::shared_ptr<grpc::Channel>& channel : targets) {
    Target& target = *targets_.emplace_back(std::make_unique<Target>());
    target.channel = std::move(channel);
    target.thread = std::thread([this, &target] { follow(target); });
  }
}

LoadWatch::~LoadWatch() {
  for (const auto& target : targets_) target->stop.cancel();
  for (const auto& target : targets_) target->thread.join();
}

std::vector<std::pair<size_t, TargetLoad>> LoadWatch::take() {
  std::vector<std::pair<size_t, TargetLoad>> all;
  std::lock_guard lock(mutex_);
  for (size_t i = 0; i < targets_.size(); ++i) {
    if (const auto news = std::exchange(targets_[i]->news, std::nullopt))
      all.emplace_back(i, *news);
  }
  return all;
}

void LoadWatch::follow(Target& target) {
  const auto stub = OpenRcaService::NewStub(target.channel);
  OrcaLoadReportRequest request;
  request.mutable_report_interval()->set_nanos(
      static_cast<int32_t>(std::chrono::nanoseconds(kBetweenReports).count()));
  const CallOptions once{.timeout = {}, .retry = {.more_attempts = 0}};
  do {
    (void)call_stream<OrcaLoadReport>(
        once, target.stop,
        [&](grpc::ClientContext& context) { return stub->StreamCoreMetrics(&context, request); },
        [&](const OrcaLoadReport& report) {
          const double application = report.application_utilization();
          std::lock_guard lock(mutex_);
          target.news = {.utilization = application > 0 ? application : report.cpu_utilization(),
                         .requests_per_second = report.rps_fractional(),
                         .errors_per_second = report.eps()};
          return grpc::Status();
        });
  } while (target.stop.wait_for(kBetweenStreams));
}

}  // namespace switchyard
