#include "client/load/server_sample.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <string_view>
#include <utility>

namespace switchyard {
namespace {

// NaN and negative values of another process count as not there.
bool is_amount(double value) { return value >= 0 && std::isfinite(value); }

void add(double& total, double value) {
  if (is_amount(value)) total = std::max(total, 0.0) + value;
}

// A histogram's series come one by one, in any order.
class Buckets {
 public:
  void add_bucket(const MetricSeries& series) {
    const std::string_view text = series.label("le");
    double bound = std::numeric_limits<double>::infinity();
    if (text != "+Inf") {
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bound);
      if (error != std::errc() || end != text.data() + text.size() || std::isnan(bound)) return;
    }
    if (is_amount(series.value)) counts_[bound] += series.value;
  }
  void add_sum(double value) {
    if (is_amount(value)) sum_ += value;
  }

  // A histogram without its infinite bucket, or whose counts fall, is none.
  [[nodiscard]] BucketCounts counts() const {
    BucketCounts all;
    for (const auto& [bound, count] : counts_) {
      if (!all.cumulative.empty() && count < all.cumulative.back()) return {};
      all.bounds.push_back(bound);
      all.cumulative.push_back(count);
    }
    if (all.bounds.empty() || std::isfinite(all.bounds.back())) return {};
    all.sum = sum_;
    return all;
  }

 private:
  std::map<double, double> counts_;
  double sum_ = 0;
};

constexpr std::string_view kPrefix = "switchyard_";

}  // namespace

ServerSample sample_of(std::span<const MetricSeries> page) {
  ServerSample sample;
  Buckets first_token;
  Buckets inter_token;
  Buckets queue;
  Buckets end_to_end;
  const std::pair<std::string_view, Buckets*> histograms[] = {
      {"time_to_first_token_seconds", &first_token},
      {"inter_token_latency_seconds", &inter_token},
      {"request_queue_seconds", &queue},
      {"e2e_request_latency_seconds", &end_to_end}};
  const std::pair<std::string_view, double*> amounts[] = {
      {"requests_running", &sample.running},
      {"requests_waiting", &sample.waiting},
      {"generation_tokens_total", &sample.generation_tokens},
      {"preemptions_total", &sample.preemptions},
      {"rejected_total", &sample.rejected}};
  for (const MetricSeries& series : page) {
    std::string_view name = series.name;
    if (!name.starts_with(kPrefix)) continue;
    name.remove_prefix(kPrefix.size());
    if (name == "kv_cache_usage_ratio") {
      if (is_amount(series.value)) sample.cache_usage = std::max(sample.cache_usage, series.value);
    } else if (name == "prompt_tokens_total") {
      add(series.label("source") == "cached" ? sample.cached_prompt_tokens
                                             : sample.computed_prompt_tokens,
          series.value);
    }
    // The waiting are also split by reason, beside their sum.
    if (name == "requests_waiting" && !series.label("reason").empty()) continue;
    for (const auto& [amount, total] : amounts) {
      if (name == amount) add(*total, series.value);
    }
    for (const auto& [histogram, buckets] : histograms) {
      if (!name.starts_with(histogram)) continue;
      const std::string_view end = name.substr(histogram.size());
      if (end == "_bucket") buckets->add_bucket(series);
      if (end == "_sum") buckets->add_sum(series.value);
    }
  }
  sample.time_to_first_token = first_token.counts();
  sample.inter_token_latency = inter_token.counts();
  sample.queue = queue.counts();
  sample.end_to_end = end_to_end.counts();
  return sample;
}

absl::Status add_page(std::span<const MetricSeries> page, int64_t unix_ns, ServerSeries& series) {
  for (const MetricSeries& one : page) {
    if (one.name == "switchyard_build_info") series.version = one.label("version");
  }
  series.samples.push_back(sample_of(page));
  series.samples.back().unix_ns = unix_ns;
  return absl::OkStatus();
}

}  // namespace switchyard
