#include "client/load/report_charts.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

namespace switchyard {
namespace {

constexpr double kGap = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kMostLines = 7;
constexpr char kTimeTitle[] = "seconds since the start";

// Negative is not known.
double or_gap(double value) { return value < 0 ? kGap : value; }

ChartLine percentile_curve(std::string name, const Distribution& d, int colour) {
  ChartLine line{.name = std::move(name), .points = {}, .colour = colour};
  // The ends of the curve beyond the last percentile that has a value of its own say nothing.
  const auto shares = curve_shares();
  for (size_t i = 0; i < d.curve.size(); ++i) {
    const bool own = static_cast<double>(d.count) * (1 - shares[i]) >= 1;
    if (own || i + 1 == d.curve.size()) line.points.push_back({shares[i], d.curve[i]});
  }
  return line;
}

// The five that have intervals, on the curve.
ChartLine percentile_dots(const Distribution& d, int colour) {
  ChartLine line{.name = "", .points = {}, .style = ChartLine::Style::kDots, .colour = colour};
  for (size_t i = 0; i < kPercentiles.size(); ++i) {
    const Estimate& e = d.percentiles[i];
    if (static_cast<double>(d.count) * (1 - kPercentiles[i].share) < 1) continue;
    line.points.push_back({kPercentiles[i].share, e.value, e.low, e.high});
  }
  return line;
}

struct NamedCurve {
  const char* name;
  const Distribution& values;
  int colour;
};

Chart percentile_chart(std::string title, std::string note, const std::vector<NamedCurve>& curves) {
  Chart chart{.title = std::move(title),
              .note = std::move(note),
              .x = {"share of values below", AxisScale::kNines},
              .y = {"ms, logarithmic", AxisScale::kLog},
              .lines = {},
              .bands = {}};
  for (const auto& [name, values, colour] : curves) {
    if (values.count == 0) continue;
    chart.lines.push_back(percentile_curve(name, values, colour));
    chart.lines.push_back(percentile_dots(values, colour));
  }
  return chart;
}

// A value of each window as a line.
template <typename Value>
ChartLine window_line(std::string name, int colour, const Timeline& timeline, const Value& value) {
  ChartLine line{.name = std::move(name), .points = {}, .colour = colour};
  for (const Window& window : timeline.windows) {
    line.points.push_back({window.from_seconds + timeline.width_seconds / 2, value(window)});
  }
  return line;
}

Chart time_chart(const Report& report, std::string title, std::string note, std::string unit) {
  Chart chart{.title = std::move(title),
              .note = std::move(note),
              .x = {kTimeTitle, AxisScale::kSpan},
              .y = {std::move(unit), AxisScale::kLinear},
              .lines = {},
              .bands = {}};
  const double end = static_cast<double>(report.facts.wall_ns) / 1e9;
  const Rates& rates = report.figures.rates;
  chart.bands.push_back({0, rates.from_seconds, "warm-up"});
  chart.bands.push_back({rates.to_seconds, end, "after"});
  for (const EventRecord& event : report.facts.events) {
    if (event.began_ns >= 0)
      chart.marks.push_back({static_cast<double>(event.began_ns) / 1e9, event.what});
  }
  return chart;
}

// A value of each page, in the time of the run.
template <typename Sample, typename Value>
ChartLine sample_line(std::string name,
                      int colour,
                      const std::vector<Sample>& samples,
                      const RunFacts& facts,
                      const Value& value) {
  ChartLine line{.name = std::move(name), .points = {}, .colour = colour};
  for (const Sample& sample : samples) {
    const double at = seconds_into(facts, sample.unix_ns);
    if (at < 0 || at > static_cast<double>(facts.wall_ns) / 1e9) continue;
    line.points.push_back({at, value(sample)});
  }
  return line;
}

// Their sum over nodes in each window: of each node the newest page until then.
ChartLine summed_gauge(std::string name,
                       int colour,
                       const Report& report,
                       double ServerSample::*gauge) {
  return window_line(std::move(name), colour, report.timeline, [&](const Window& window) {
    const double until = window.from_seconds + report.timeline.width_seconds;
    double sum = 0;
    bool known = false;
    for (const ServerView& server : report.servers) {
      const ServerSample* newest = nullptr;
      for (const ServerSample& sample : server.samples) {
        if (seconds_into(report.facts, sample.unix_ns) < until) newest = &sample;
      }
      if (newest == nullptr || newest->*gauge < 0) continue;
      sum += newest->*gauge;
      known = true;
    }
    return known ? sum : kGap;
  });
}

bool any_known(const std::vector<ServerView>& servers, double ServerSample::*gauge) {
  return std::ranges::any_of(servers, [gauge](const ServerView& server) {
    return std::ranges::any_of(server.samples,
                               [gauge](const ServerSample& one) { return one.*gauge >= 0; });
  });
}

Chart cache_chart(const Report& report) {
  Chart chart = time_chart(report, "Cache in use", "by the nodes' metrics, the fullest pool",
                           "% of the cache");
  for (const ServerView& server : report.servers) {
    if (server.samples.empty() || chart.lines.size() == kMostLines) continue;
    chart.lines.push_back(sample_line(
        server.target, static_cast<int>(chart.lines.size()), server.samples, report.facts,
        [](const ServerSample& sample) { return or_gap(sample.cache_usage * 100); }));
  }
  const auto with_samples = std::ranges::count_if(
      report.servers, [](const ServerView& server) { return !server.samples.empty(); });
  if (static_cast<size_t>(with_samples) > kMostLines) {
    chart.note += "; the first " + std::to_string(kMostLines) + " of " +
                  std::to_string(with_samples) + " nodes";
  }
  return chart;
}

Chart gpu_chart(const Report& report, std::string title, std::string unit, GpuGauge gauge) {
  Chart chart = time_chart(report, std::move(title), "", std::move(unit));
  const bool is_share = gauge != GpuGauge::kPower;
  size_t known = 0;
  for (const GpuView& gpu : report.gpus.gpus) {
    if (gpu[gauge].peak < 0 || ++known > kMostLines) continue;
    chart.lines.push_back(
        sample_line(gpu.title, static_cast<int>(known - 1), report.gpus.pages[gpu.page].samples,
                    report.facts, [&](const GpuSample& sample) {
                      return or_gap(sample.value(gpu.place, gauge) * (is_share ? 100 : 1));
                    }));
  }
  if (known > kMostLines) {
    chart.note =
        "the first " + std::to_string(kMostLines) + " of " + std::to_string(known) + " GPUs";
  }
  return chart;
}

}  // namespace

std::vector<Chart> latency_charts(const Figures& figures) {
  const char* note = "dots and bars: percentiles with their 95 % intervals";
  return {percentile_chart("Time to first token and to the end", note,
                           {{"TTFT by the node", figures.node_ttft_ms, 2},
                            {"TTFT", figures.latencies.ttft_ms, 0},
                            {"E2E", figures.latencies.e2e_ms, 1}}),
          percentile_chart(
              "Between tokens", note,
              {{"TPOT", figures.latencies.tpot_ms, 1}, {"ITL", figures.latencies.itl_ms, 0}})};
}

std::vector<Chart> time_charts(const Report& report) {
  const Timeline& timeline = report.timeline;
  const double width = timeline.width_seconds;
  const auto per_second = [width](int64_t Window::*count) {
    return
        [width, count](const Window& window) { return static_cast<double>(window.*count) / width; };
  };
  std::vector<Chart> charts;
  Chart& tokens = charts.emplace_back(time_chart(report, "Output tokens", "", "tokens/s"));
  tokens.lines = {window_line("arrived", 0, timeline, per_second(&Window::output_tokens))};

  Chart& requests = charts.emplace_back(time_chart(report, "Requests", "", "requests/s"));
  requests.lines = {window_line("meant", 7, timeline, per_second(&Window::intended)),
                    window_line("sent", 0, timeline, per_second(&Window::sent)),
                    window_line("completed", 2, timeline, per_second(&Window::completed))};

  Chart& ttft = charts.emplace_back(
      time_chart(report, "Time to first token", "by when the request was meant to be sent", "ms"));
  ttft.lines = {
      window_line("p50", 0, timeline, [](const Window& w) { return or_gap(w.ttft_p50_ms); }),
      window_line("p99", 3, timeline, [](const Window& w) { return or_gap(w.ttft_p99_ms); })};

  Chart& itl = charts.emplace_back(
      time_chart(report, "Between tokens", "by when the later token came", "ms"));
  itl.lines = {
      window_line("p50", 0, timeline, [](const Window& w) { return or_gap(w.itl_p50_ms); }),
      window_line("p99", 3, timeline, [](const Window& w) { return or_gap(w.itl_p99_ms); })};

  Chart& flight = charts.emplace_back(
      time_chart(report, "In flight and waiting", "most at one moment", "requests"));
  flight.lines = {window_line("in flight", 0, timeline, [](const Window& window) {
    return static_cast<double>(window.in_flight);
  })};
  if (any_known(report.servers, &ServerSample::running)) {
    flight.lines.push_back(summed_gauge("running in the nodes", 2, report, &ServerSample::running));
    flight.lines.push_back(summed_gauge("waiting in the nodes", 1, report, &ServerSample::waiting));
  }
  if (report.facts.held_back > 0) {
    flight.lines.push_back(window_line("held back by the client", 7, timeline, [](const Window& w) {
      return static_cast<double>(w.held_back);
    }));
  }
  if (any_known(report.servers, &ServerSample::cache_usage)) charts.push_back(cache_chart(report));

  Chart& errors = charts.emplace_back(time_chart(report, "Errors", "", "requests/s"));
  errors.lines = {window_line("refused", 1, timeline, per_second(&Window::refused)),
                  window_line("failed otherwise", 3, timeline, [width](const Window& window) {
                    return static_cast<double>(window.failed - window.refused) / width;
                  })};
  return charts;
}

std::vector<Chart> gpu_charts(const Report& report) {
  const GpuViews& gpus = report.gpus;
  std::vector<Chart> charts;
  if (gpus.has(GpuGauge::kUtilisation)) {
    charts.push_back(gpu_chart(report, "GPU utilisation", "% of the time", GpuGauge::kUtilisation));
  } else if (gpus.has(GpuGauge::kEngineActive)) {
    charts.push_back(
        gpu_chart(report, "GPU engines active", "% of the time", GpuGauge::kEngineActive));
  }
  if (gpus.has(GpuGauge::kPower)) {
    charts.push_back(gpu_chart(report, "GPU power", "W", GpuGauge::kPower));
  }
  return charts;
}

std::vector<Chart> sweep_charts(const SweepSummary& sweep) {
  const auto line = [&](std::string name, int colour, const auto& value) {
    ChartLine drawn{.name = std::move(name), .points = {}, .colour = colour};
    for (const SweepLine& one : sweep.lines) {
      if (!one.client_late) drawn.points.push_back({one.rate, value(one.figures)});
    }
    return drawn;
  };
  const auto at = [](Distribution Latencies::*which, size_t percentile) {
    return [which, percentile](const Figures& figures) {
      const Distribution& d = figures.latencies.*which;
      return d.count > 0 ? d.percentiles[percentile].value : kGap;
    };
  };
  const ChartAxis rate{"requests/s asked for", AxisScale::kSpan};
  Chart latency{.title = "Latency by rate",
                .note = "",
                .x = rate,
                .y = {"ms, logarithmic", AxisScale::kLog},
                .lines = {line("TTFT p50", 0, at(&Latencies::ttft_ms, 0)),
                          line("TTFT p99", 3, at(&Latencies::ttft_ms, 3)),
                          line("TPOT p99", 2, at(&Latencies::tpot_ms, 3))},
                .bands = {}};
  Chart good{.title = "Requests by rate",
             .note = "",
             .x = rate,
             .y = {"requests/s", AxisScale::kLinear},
             .lines = {line("completed", 7,
                            [](const Figures& f) { return f.rates.requests_per_second.value; }),
                       line("good", 2,
                            [](const Figures& f) {
                              return f.goodput ? f.goodput->per_second.value : kGap;
                            })},
             .bands = {}};
  return {std::move(latency), std::move(good)};
}

}  // namespace switchyard
