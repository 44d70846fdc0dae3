#include "client/load/server_view.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace switchyard {
namespace {

constexpr double ServerSample::*kCounters[] = {
    &ServerSample::generation_tokens, &ServerSample::computed_prompt_tokens,
    &ServerSample::cached_prompt_tokens, &ServerSample::preemptions, &ServerSample::rejected};
constexpr double ServerView::*kGrowths[] = {
    &ServerView::generation_tokens, &ServerView::computed_prompt_tokens,
    &ServerView::cached_prompt_tokens, &ServerView::preemptions, &ServerView::rejected};
constexpr BucketCounts ServerSample::*kHistograms[] = {
    &ServerSample::time_to_first_token, &ServerSample::inter_token_latency, &ServerSample::queue,
    &ServerSample::end_to_end};
constexpr ServerDistribution ServerView::*kDistributions[] = {&ServerView::ttft, &ServerView::itl,
                                                              &ServerView::queue, &ServerView::e2e};
constexpr size_t kHistogramCount = std::size(kHistograms);

// What a node, or all of them, counted between two pages.
struct Growth {
  std::array<double, std::size(kCounters)> counters = {-1, -1, -1, -1, -1};
  std::array<BucketCounts, kHistogramCount> histograms;
};

void add_known(double& total, double value) {
  if (value >= 0) total = std::max(total, 0.0) + value;
}

void add(BucketCounts& total, const BucketCounts& more) {
  if (total.bounds.empty()) {
    total = more;
  } else if (total.bounds == more.bounds) {
    for (size_t i = 0; i < more.cumulative.size(); ++i) total.cumulative[i] += more.cumulative[i];
    total.sum += more.sum;
  }
}

// Nothing: something fell.
std::optional<Growth> growth(const ServerSample& earlier, const ServerSample& later) {
  Growth grown;
  for (size_t i = 0; i < std::size(kCounters); ++i) {
    const double before = earlier.*kCounters[i];
    const double after = later.*kCounters[i];
    if (before < 0 || after < 0) continue;
    if (after < before) return {};
    grown.counters[i] = after - before;
  }
  for (size_t i = 0; i < kHistogramCount; ++i) {
    const auto histogram = difference(earlier.*kHistograms[i], later.*kHistograms[i]);
    if (!histogram) return {};
    grown.histograms[i] = *histogram;
  }
  return grown;
}

void show(const Growth& grown, ServerView& view) {
  for (size_t i = 0; i < std::size(kGrowths); ++i) view.*kGrowths[i] = grown.counters[i];
  for (size_t i = 0; i < kHistogramCount; ++i) {
    view.*kDistributions[i] = distribution_of(grown.histograms[i]);
  }
}

// The part of the run that the pages have to enclose, since 1970.
std::pair<int64_t, int64_t> measured_time(const LoadRun& run) {
  int64_t from_ns = run.facts.measured_from_ns;
  int64_t to_ns = from_ns;
  for (const RequestRecord& record : run.records) {
    if (record.measured) to_ns = std::max(to_ns, record.end_ns);
  }
  return {run.facts.start_unix_ns + from_ns, run.facts.start_unix_ns + to_ns};
}

// The last page before the time and the first one after it, as far as there are such.
std::pair<const ServerSample*, const ServerSample*> pages_around(
    const std::vector<ServerSample>& samples, std::pair<int64_t, int64_t> time) {
  const ServerSample* first = &samples.front();
  const ServerSample* last = &samples.back();
  for (const ServerSample& sample : samples) {
    if (sample.unix_ns <= time.first) first = &sample;
    if (sample.unix_ns >= time.second) {
      last = &sample;
      break;
    }
  }
  return {first, last};
}

}  // namespace

std::optional<BucketCounts> difference(const BucketCounts& earlier, const BucketCounts& later) {
  if (earlier.bounds.empty()) return later;  // appeared meanwhile
  if (earlier.bounds != later.bounds) return {};
  BucketCounts grown = later;
  for (size_t i = 0; i < grown.cumulative.size(); ++i) {
    grown.cumulative[i] -= earlier.cumulative[i];
    // A page that is written while values arrive need not be of one moment.
    if (i > 0) grown.cumulative[i] = std::max(grown.cumulative[i], grown.cumulative[i - 1]);
    if (grown.cumulative[i] < 0) return {};
  }
  grown.sum = std::max(0.0, later.sum - earlier.sum);
  return grown;
}

ServerDistribution distribution_of(const BucketCounts& seconds) {
  ServerDistribution d;
  const double count = seconds.cumulative.empty() ? 0 : seconds.cumulative.back();
  if (count <= 0) return d;
  d.count = std::llround(count);
  d.mean_ms = seconds.sum / count * 1e3;
  for (size_t i = 0; i < kPercentiles.size(); ++i) {
    const double rank = kPercentiles[i].share * count;
    const auto found = std::ranges::lower_bound(seconds.cumulative, rank);
    const auto bucket = static_cast<size_t>(found - seconds.cumulative.begin());
    const double low = bucket == 0 ? 0 : seconds.bounds[bucket - 1];
    const double high = seconds.bounds[bucket];
    const double below = bucket == 0 ? 0 : seconds.cumulative[bucket - 1];
    const double part = (rank - below) / (seconds.cumulative[bucket] - below);
    d.percentiles_ms[i].low = low * 1e3;
    d.percentiles_ms[i].high = high * 1e3;
    d.percentiles_ms[i].value = std::isfinite(high) ? std::lerp(low, high, part) * 1e3 : low * 1e3;
  }
  return d;
}

std::vector<ServerView> server_views(std::vector<ServerSeries> series, const LoadRun& run) {
  const auto time = measured_time(run);
  std::vector<ServerView> views;
  ServerView sum;
  Growth all;
  int64_t known = 0;
  for (ServerSeries& one : series) {
    ServerView& view = views.emplace_back();
    view.target = one.target;
    view.version = one.version;
    view.scrapes = one.scrapes;
    view.failures = one.failures;
    view.first_failure = one.first_failure;
    view.samples = std::move(one.samples);
    if (view.samples.empty()) continue;
    const auto [first, last] = pages_around(view.samples, time);
    for (const ServerSample* sample = first; sample <= last; ++sample) {
      view.peak_running = std::max(view.peak_running, sample->running);
      view.peak_waiting = std::max(view.peak_waiting, sample->waiting);
      view.peak_cache_usage = std::max(view.peak_cache_usage, sample->cache_usage);
    }
    for (const ServerSample* sample = first; sample < last; ++sample) {
      view.restarted = view.restarted || !growth(*sample, *(sample + 1));
    }
    if (view.restarted || first == last) continue;
    view.from_seconds = seconds_into(run.facts, first->unix_ns);
    view.to_seconds = seconds_into(run.facts, last->unix_ns);
    const std::optional<Growth> grown = growth(*first, *last);
    if (!grown) continue;  // unreachable where each step could be subtracted
    show(*grown, view);
    sum.from_seconds =
        known == 0 ? view.from_seconds : std::min(sum.from_seconds, view.from_seconds);
    sum.to_seconds = std::max(sum.to_seconds, view.to_seconds);
    add_known(sum.peak_running, view.peak_running);
    add_known(sum.peak_waiting, view.peak_waiting);
    sum.peak_cache_usage = std::max(sum.peak_cache_usage, view.peak_cache_usage);
    for (size_t i = 0; i < all.counters.size(); ++i) add_known(all.counters[i], grown->counters[i]);
    for (size_t i = 0; i < kHistogramCount; ++i) add(all.histograms[i], grown->histograms[i]);
    ++known;
  }
  if (known < 2) return views;
  sum.target = "all nodes";
  for (const ServerView& view : views) {
    sum.scrapes += view.scrapes;
    sum.failures += view.failures;
  }
  show(all, sum);
  views.push_back(std::move(sum));
  return views;
}

}  // namespace switchyard
