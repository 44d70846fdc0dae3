#include "client/load/gpu_sample.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "client/load/failure.h"

namespace switchyard {
namespace {

// DCGM marks what it does not know with values from the top of a field's type on; 0x7ffffff0, of
// 32-bit fields, is the least of them. No value of these gauges is near it.
constexpr double kLeastBlank = 0x7ffffff0;

bool is_known(double value) { return value >= 0 && value < kLeastBlank; }

using Identity = std::pair<std::string, std::string>;

Identity identity_of(const GpuName& name) {
  return {name.uuid.empty() ? name.host + " " + name.index : name.uuid, name.instance};
}

std::string pod_of(const MetricSeries& series) {
  const std::string_view pod = series.label("pod");
  if (pod.empty()) return {};
  return std::string(series.label("namespace")) + "/" + std::string(pod);
}

GpuName name_of(const MetricSeries& series) {
  return {.index = std::string(series.label("gpu")),
          .instance = std::string(series.label("GPU_I_ID")),
          .uuid = std::string(series.label("UUID")),
          .model = std::string(series.label("modelName")),
          .host = std::string(series.label("Hostname")),
          .pod = pod_of(series)};
}

}  // namespace

absl::Status add_page(std::span<const MetricSeries> page, int64_t unix_ns, GpuSeries& series) {
  std::map<Identity, size_t> places;
  for (size_t i = 0; i < series.gpus.size(); ++i) places[identity_of(series.gpus[i])] = i;
  GpuSample sample{.unix_ns = unix_ns, .readings = {}};
  for (const MetricSeries& one : page) {
    const auto* const found = std::ranges::find(kGpuGauges, one.name, &GpuGaugeInfo::series);
    if (found == kGpuGauges.end()) continue;
    GpuName name = name_of(one);
    if (name.index.empty() && name.uuid.empty()) continue;  // of a switch or a processor
    const auto [place, is_new] = places.emplace(identity_of(name), series.gpus.size());
    const size_t gpu = place->second;
    if (is_new) {
      if (gpu == kMostGpusOfAPage) return failure("more than ", kMostGpusOfAPage, " GPUs");
      series.gpus.push_back(std::move(name));
    } else if (!name.pod.empty()) {
      series.gpus[gpu].pod = std::move(name.pod);
    }
    if (sample.readings.size() <= gpu) sample.readings.resize(gpu + 1);
    // A GPU that several pods share is on the page once for each.
    double& value = sample.readings[gpu][found->gauge];
    if (value < 0 && is_known(one.value)) value = one.value * found->scale;
  }
  if (sample.readings.empty()) {
    return failure("the page has no series of a GPU, such as ", kGpuGauges.front().series);
  }
  series.samples.push_back(std::move(sample));
  return absl::OkStatus();
}

}  // namespace switchyard
