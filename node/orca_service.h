// xds.service.orca.v3.OpenRcaService: the load report, again and again, to whoever asked.
// What it says is LoadReporter's.
#pragma once

#include <mutex>
#include <set>

#include "engine/base/clock.h"
#include "node/load_report.h"
#include "node/rpc.h"
#include "xds/service/orca/v3/orca.grpc.pb.h"

namespace switchyard {

// Any thread.
class OrcaService final : public xds::service::orca::v3::OpenRcaService::CallbackService {
 public:
  static constexpr Duration kShortest = std::chrono::milliseconds(100);
  static constexpr Duration kUsual = std::chrono::seconds(1);  // for who names no interval

  // All must outlive it.
  OrcaService(const LoadReporter& reporter, RpcTable& rpcs, const Clock& clock)
      : reporter_(reporter), rpcs_(rpcs), clock_(clock) {}
  ~OrcaService() override;  // no stream is open any more

  // Sends what is due; to be called more often than kShortest.
  void tick();
  // Ends all streams, and those that come later.
  void end_streams();

  grpc::ServerWriteReactor<xds::data::orca::v3::OrcaLoadReport>* StreamCoreMetrics(
      grpc::CallbackServerContext* context,
      const xds::service::orca::v3::OrcaLoadReportRequest* request) override;

 private:
  class Listener;

  const LoadReporter& reporter_;
  RpcTable& rpcs_;
  const Clock& clock_;
  std::mutex mutex_;  // guards everything below, and the listeners
  std::set<Listener*> listeners_;
  bool ended_ = false;
};

}  // namespace switchyard
