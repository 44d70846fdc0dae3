// Any bytes as a page of metrics: refused with a line that is named, or series whose histograms a
// report can subtract. A page before it is the same one shortened, as of an earlier moment.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "client/load/server_view.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  const std::string_view page(reinterpret_cast<const char*>(data), size);
  const auto series = parse_prometheus_text(page, {.series = 1000, .labels = 8});
  if (!series.ok()) {
    require(series.status().message().substr(0, 5) == "line ");
    return 0;
  }
  for (const MetricSeries& one : *series) require(!one.name.empty() && one.labels.size() <= 8);
  const ServerSample later = sample_of(*series);
  const auto half = parse_prometheus_text(page.substr(0, size / 2), {});
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
