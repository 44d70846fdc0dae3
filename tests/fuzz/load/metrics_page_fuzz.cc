// Any bytes as a page of metrics: refused with a line that is named, or series whose histograms a
// report can subtract and whose GPUs it can add up. A page before it is the same one shortened, as
// of an earlier moment.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "client/load/gpu_view.h"
#include "client/load/server_view.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

// Figures are of the page's values, none of which is a blank of DCGM, or are not there.
void view_gpus(const std::vector<switchyard::MetricSeries>& earlier,
               const std::vector<switchyard::MetricSeries>& later) {
  using namespace switchyard;
  constexpr int64_t kSecond = 1'000'000'000;
  GpuSeries series;
  series.target = "h:1";
  const bool has_earlier = add_page(earlier, kSecond / 2, series).ok();
  const bool has_later = add_page(later, kSecond * 3 / 2, series).ok();
  require(series.samples.size() == size_t{has_earlier} + size_t{has_later});
  require(series.gpus.size() <= kMostGpusOfAPage);
  for (const GpuSample& sample : series.samples) {
    require(!sample.readings.empty() && sample.readings.size() <= series.gpus.size());
  }
  LoadRun run;
  run.facts.measured_to_ns = 2 * kSecond;
  const GpuViews views = gpu_views({series}, run);
  require(views.gpus.size() == series.gpus.size());
  for (const GpuView& gpu : views.gpus) {
    for (const GpuFigure& figure : gpu.figures) {
      require((figure.peak < 0) == (figure.mean < 0));
      require(figure.peak < 0 || figure.mean <= figure.peak * (1 + 1e-9) + 1e-300);
      require(figure.peak < 0x7ffffff0);
    }
    require(gpu.joules < 0 || std::isfinite(gpu.joules));
  }
  require(views.energy.has_value() == views.no_energy.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  const std::string_view page(reinterpret_cast<const char*>(data), size);
  const auto series = parse_prometheus_text(page, {.series = 1000, .labels = 16});
  if (!series.ok()) {
    require(series.status().message().substr(0, 5) == "line ");
    return 0;
  }
  for (const MetricSeries& one : *series) require(!one.name.empty() && one.labels.size() <= 16);
  const ServerSample later = sample_of(*series);
  const auto half = parse_prometheus_text(page.substr(0, size / 2), {});
  view_gpus(half.ok() ? *half : std::vector<MetricSeries>(), *series);
  const ServerSample earlier = half.ok() ? sample_of(*half) : ServerSample();
  for (const auto histogram : {&ServerSample::time_to_first_token, &ServerSample::queue}) {
    const auto grown = difference(earlier.*histogram, later.*histogram);
    if (!grown) continue;
    const ServerDistribution d = distribution_of(*grown);
    for (const Estimate& percentile : d.percentiles_ms) {
      require(d.count == 0 ||
              (percentile.low <= percentile.value && percentile.low < percentile.high));
    }
  }
  return 0;
}
