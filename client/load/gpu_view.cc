#include "client/load/gpu_view.h"

#include <absl/status/statusor.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "client/load/failure.h"
#include "client/load/format.h"
#include "client/load/rates.h"

namespace switchyard {
namespace {

struct Point {
  double at = 0;  // seconds into the run
  double value = 0;
};

// Straight lines between points, as far as they are in a span.
struct Stretch {
  double from = 0;
  double to = 0;
  double area = 0;
  double peak = -1;  // -1: nothing of them is in the span
};

double between(const Point& a, const Point& b, double at) {
  if (b.at <= a.at) return b.value;
  return std::lerp(a.value, b.value, (at - a.at) / (b.at - a.at));
}

Stretch stretch_of(const std::vector<Point>& points, double from, double to) {
  Stretch stretch;
  if (points.empty()) return stretch;
  stretch.from = std::max(from, points.front().at);
  stretch.to = std::min(to, points.back().at);
  if (stretch.from > stretch.to) return {};
  if (points.size() == 1) stretch.peak = points.front().value;
  for (size_t i = 0; i + 1 < points.size(); ++i) {
    const Point& a = points[i];
    const Point& b = points[i + 1];
    const double begin = std::max(a.at, stretch.from);
    const double end = std::min(b.at, stretch.to);
    if (begin > end) continue;
    const double first = between(a, b, begin);
    const double last = between(a, b, end);
    stretch.area += (first + last) / 2 * (end - begin);
    stretch.peak = std::max({stretch.peak, first, last});
  }
  return stretch;
}

GpuFigure figure_of(const Stretch& stretch) {
  const double seconds = stretch.to - stretch.from;
  return {.mean = stretch.peak >= 0 && seconds > 0 ? stretch.area / seconds : stretch.peak,
          .peak = stretch.peak};
}

// Of one GPU, where its page had it.
std::vector<Point> points_of(const std::vector<GpuSample>& samples,
                             size_t gpu,
                             GpuGauge gauge,
                             const RunFacts& facts) {
  std::vector<Point> points;
  for (const GpuSample& sample : samples) {
    const double value = sample.value(gpu, gauge);
    if (value >= 0) points.push_back({seconds_into(facts, sample.unix_ns), value});
  }
  return points;
}

double memory_total(const std::vector<GpuSample>& samples, size_t gpu) {
  double most = -1;
  for (const GpuSample& sample : samples) {
    const double used = sample.value(gpu, GpuGauge::kMemoryUsed);
    const double free = sample.value(gpu, GpuGauge::kMemoryFree);
    if (used < 0 || free < 0) continue;
    const double reserved = std::max(0.0, sample.value(gpu, GpuGauge::kMemoryReserved));
    most = std::max(most, used + free + reserved);
  }
  return most;
}

// The gauge holds the last error that there was, or 0. What the pages before the run had is none of
// its; the page after `to` counts, since an exporter that asks seldom shows an error late.
std::vector<int64_t> errors_of(const std::vector<Point>& points, double to) {
  std::vector<int64_t> errors;
  double last = 0;
  for (const Point& point : points) {
    if (point.at > 0 && point.value != last && point.value > 0) {
      errors.push_back(std::llround(point.value));
    }
    last = point.value;
    if (point.at >= to) break;
  }
  return errors;
}

GpuPages pages_of(GpuSeries& series, const GpuViews& views, const RunFacts& facts) {
  GpuPages pages{.target = series.target,
                 .scrapes = series.scrapes,
                 .failures = series.failures,
                 .first_failure = series.first_failure,
                 .samples = std::move(series.samples)};
  const GpuSample* before = nullptr;
  double last = views.from_seconds;
  const auto gap = [&](double at) {
    pages.longest_gap_seconds = std::max(pages.longest_gap_seconds, at - last);
    last = at;
  };
  for (const GpuSample& sample : pages.samples) {
    const double at = seconds_into(facts, sample.unix_ns);
    if (at >= views.from_seconds && at <= views.to_seconds) {
      ++pages.pages;
      if (before != nullptr && before->readings != sample.readings) ++pages.renewed;
      gap(at);
    }
    before = &sample;
  }
  gap(views.to_seconds);
  return pages;
}

GpuView view_of(const GpuViews& views, GpuName name, size_t place, const RunFacts& facts) {
  const std::vector<GpuSample>& samples = views.pages.back().samples;
  GpuView view;
  view.page = views.pages.size() - 1;
  view.place = place;
  view.name = std::move(name);
  bool any = false;
  for (const GpuGaugeInfo& info : kShownGpuGauges) {
    const Stretch stretch = stretch_of(points_of(samples, place, info.gauge, facts),
                                       views.from_seconds, views.to_seconds);
    if (stretch.peak < 0) continue;
    view.figures[static_cast<size_t>(info.gauge)] = figure_of(stretch);
    view.from_seconds = any ? std::min(view.from_seconds, stretch.from) : stretch.from;
    view.to_seconds = any ? std::max(view.to_seconds, stretch.to) : stretch.to;
    any = true;
    if (info.gauge == GpuGauge::kPower && stretch.to > stretch.from) view.joules = stretch.area;
  }
  view.memory_total_mib = memory_total(samples, place);
  const std::vector<Point> xids = points_of(samples, place, GpuGauge::kXid, facts);
  if (!xids.empty()) view.xid_errors = errors_of(xids, views.to_seconds);
  return view;
}

std::string title_of(const GpuName& name, const GpuPages& pages, bool of_several) {
  std::string title = "GPU " + (name.index.empty() ? name.uuid : name.index);
  if (!name.instance.empty()) title += " instance " + name.instance;
  return of_several ? title + " at " + pages.target : title;
}

int64_t tokens_between(const LoadRun& run, double from, double to) {
  int64_t tokens = 0;
  for (const RequestRecord& record : run.records) {
    for (const TokenArrival& arrival : record.arrivals) {
      const double at = static_cast<double>(arrival.at_ns) / 1e9;
      if (at >= from && at < to) tokens += std::max(arrival.tokens, 0);
    }
  }
  return tokens;
}

struct Power {
  std::string title;
  std::vector<Point> points;
};

// Of each GPU once, whatever number of instances and pages have it.
std::vector<Power> powers_of(const GpuViews& views, const RunFacts& facts) {
  std::map<std::string, Power> powers;
  for (const GpuView& gpu : views.gpus) {
    const GpuPages& pages = views.pages[gpu.page];
    std::string whole = gpu.name.uuid;
    if (whole.empty()) whole = pages.target + " " + gpu.name.host + " " + gpu.name.index;
    std::vector<Point> points = points_of(pages.samples, gpu.place, GpuGauge::kPower, facts);
    Power& power = powers[whole];
    if (power.points.size() < points.size() || power.title.empty()) {
      power = {.title = gpu.title, .points = std::move(points)};
    }
  }
  std::vector<Power> all;
  for (auto& [whole, power] : powers) all.push_back(std::move(power));
  return all;
}

// A sum that lacks a GPU would be no sum.
absl::StatusOr<GpuEnergy> energy_of(const GpuViews& views, const LoadRun& run) {
  for (const GpuPages& pages : views.pages) {
    if (pages.samples.empty()) return failure("no page of ", pages.target, " could be had");
  }
  const std::vector<Power> powers = powers_of(views, run.facts);
  GpuEnergy energy{.from_seconds = views.from_seconds, .to_seconds = views.to_seconds};
  for (const Power& power : powers) {
    if (power.points.size() < 2) return failure("the power of ", power.title, " is not known");
    energy.from_seconds = std::max(energy.from_seconds, power.points.front().at);
    energy.to_seconds = std::min(energy.to_seconds, power.points.back().at);
  }
  if (energy.from_seconds >= energy.to_seconds) {
    return failure("at no time of the measured span is the power of every GPU known");
  }
  for (const Power& power : powers) {
    energy.joules += stretch_of(power.points, energy.from_seconds, energy.to_seconds).area;
  }
  energy.gpus = std::ssize(powers);
  energy.output_tokens = tokens_between(run, energy.from_seconds, energy.to_seconds);
  if (energy.joules > 0) {
    energy.tokens_per_joule = static_cast<double>(energy.output_tokens) / energy.joules;
  }
  return energy;
}

}  // namespace

bool GpuViews::has(GpuGauge gauge) const {
  return std::ranges::any_of(gpus, [gauge](const GpuView& gpu) { return gpu[gauge].peak >= 0; });
}

GpuViews gpu_views(std::vector<GpuSeries> series, const LoadRun& run) {
  GpuViews views;
  if (series.empty()) return views;
  const Span span = measured_span(run);
  views.from_seconds = static_cast<double>(span.from_ns) / 1e9;
  views.to_seconds = static_cast<double>(span.to_ns) / 1e9;
  for (GpuSeries& one : series) {
    views.pages.push_back(pages_of(one, views, run.facts));
    for (size_t place = 0; place < one.gpus.size(); ++place) {
      GpuView view = view_of(views, std::move(one.gpus[place]), place, run.facts);
      view.title = title_of(view.name, views.pages.back(), series.size() > 1);
      views.gpus.push_back(std::move(view));
    }
  }
  const absl::StatusOr<GpuEnergy> energy = energy_of(views, run);
  if (energy.ok()) {
    views.energy = *energy;
  } else {
    views.no_energy = why(energy.status());
  }
  return views;
}

void warn_of_gpus(const GpuViews& views, std::vector<std::string>& warnings) {
  constexpr int64_t kEnoughPages = 10;
  constexpr double kWhole = 0.95;  // of the measured span
  for (const GpuPages& pages : views.pages) {
    if (pages.pages < kEnoughPages || 2 * pages.renewed >= pages.pages) continue;
    warnings.push_back(format(
        "%lld of %lld pages of %s had a new value: its exporter asks the GPUs less often than it "
        "is asked (dcgm-exporter --collect-interval 1000 for once a second)",
        static_cast<long long>(pages.renewed), static_cast<long long>(pages.pages),
        pages.target.c_str()));
  }
  for (const GpuView& gpu : views.gpus) {
    if (!gpu.xid_errors) continue;
    for (const int64_t error : *gpu.xid_errors) {
      warnings.push_back(
          format("%s had XID error %lld", gpu.title.c_str(), static_cast<long long>(error)));
    }
  }
  if (!views.no_energy.empty()) warnings.push_back("no energy of the GPUs: " + views.no_energy);
  if (views.energy && views.energy->to_seconds - views.energy->from_seconds <
                          kWhole * (views.to_seconds - views.from_seconds)) {
    warnings.push_back(format(
        "the energy of the GPUs is of %.1f s to %.1f s only: before and after, the power of one is "
        "not known",
        views.energy->from_seconds, views.energy->to_seconds));
  }
}

}  // namespace switchyard
