#include "node/load_report.h"

#include "xds/data/orca/v3/orca_load_report.pb.h"

namespace switchyard {
namespace {

double share_used(int64_t total, int64_t free) {
  return total == 0 ? 0 : static_cast<double>(total - free) / static_cast<double>(total);
}

struct Ends {
  uint64_t all = 0;
  uint64_t faults = 0;  // the node's, not the caller's; backpressure shows in the utilization
};

Ends ends_of(const Metrics& metrics) {
  Ends ends;
  for (size_t method = 0; method < kAnswerMethodNames.size(); ++method) {
    for (const Metrics::Counter& count : metrics.finished[method]) ends.all += count;
    for (const Metrics::Counter& count : metrics.failed[method]) ends.all += count;
    ends.faults += metrics.failed[method][static_cast<size_t>(Code::kInternal)];
    ends.faults += metrics.failed[method][static_cast<size_t>(Code::kUnavailable)];
  }
  return ends;
}

}  // namespace

void RateWindow::add(TimePoint now, uint64_t count) {
  samples_.push_back({now, count});
  // One sample may be older than the window: the rate is over at least all of it.
  while (samples_.size() > 2 && now - samples_[1].at >= length_) samples_.pop_front();
}

double RateWindow::per_second() const {
  if (samples_.size() < 2) return 0;
  const double passed = seconds(samples_.back().at - samples_.front().at);
  if (passed <= 0) return 0;
  return static_cast<double>(samples_.back().count - samples_.front().count) / passed;
}

void LoadReporter::refresh(TimePoint now,
                           const EngineLoad& load,
                           int rows,
                           const Metrics& metrics) {
  const Ends ends = ends_of(metrics);
  answers_.add(now, ends.all);
  faults_.add(now, ends.faults);

  xds::data::orca::v3::OrcaLoadReport report;
  report.set_application_utilization(static_cast<double>(load.running + load.waiting) / rows);
  report.set_rps_fractional(answers_.per_second());
  report.set_eps(faults_.per_second());
  auto& utilization = *report.mutable_utilization();
  utilization["kv_cache"] = share_used(load.kv_blocks_total, load.kv_blocks_free);
  auto& named = *report.mutable_named_metrics();
  named["requests_running"] = load.running;
  named["requests_waiting"] = load.waiting;
  named["queue_uncached_tokens"] = static_cast<double>(load.waiting_prompt_tokens);

  std::string serialized = report.SerializeAsString();
  std::lock_guard lock(mutex_);
  serialized_ = std::move(serialized);
}

std::string LoadReporter::serialized() const {
  std::lock_guard lock(mutex_);
  return serialized_;
}

}  // namespace switchyard
