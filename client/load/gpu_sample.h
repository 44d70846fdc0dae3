// What a page of NVIDIA's dcgm-exporter says of GPUs, as far as a load report shows it. Fields that
// a page leaves out or that DCGM left blank are not there. Judges nothing (gpu_view.h).
#pragma once

#include <absl/status/status.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "client/load/prometheus_text.h"

namespace switchyard {

enum class GpuGauge : uint8_t {
  kUtilisation,
  kEngineActive,
  kSmActive,
  kTensorActive,
  kDramActive,
  kMemoryUsed,
  kPower,
  kTemperature,
  kSmClock,
  // Shown only together with others, or as events.
  kMemoryFree,
  kMemoryReserved,
  kXid,
};

struct GpuGaugeInfo {
  GpuGauge gauge;
  std::string_view series;  // on the page
  std::string_view name;    // in reports; shares are 0 to 1
  double scale = 1;         // from the page's unit to the report's
};

// By their numbers.
inline constexpr std::array kGpuGauges = std::to_array<GpuGaugeInfo>({
    {GpuGauge::kUtilisation, "DCGM_FI_DEV_GPU_UTIL", "utilisation", 0.01},
    {GpuGauge::kEngineActive, "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "engine_active"},
    {GpuGauge::kSmActive, "DCGM_FI_PROF_SM_ACTIVE", "sm_active"},
    {GpuGauge::kTensorActive, "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "tensor_active"},
    {GpuGauge::kDramActive, "DCGM_FI_PROF_DRAM_ACTIVE", "dram_active"},
    {GpuGauge::kMemoryUsed, "DCGM_FI_DEV_FB_USED", "memory_used_mib"},
    {GpuGauge::kPower, "DCGM_FI_DEV_POWER_USAGE", "power_watts"},
    {GpuGauge::kTemperature, "DCGM_FI_DEV_GPU_TEMP", "temperature_celsius"},
    {GpuGauge::kSmClock, "DCGM_FI_DEV_SM_CLOCK", "sm_clock_mhz"},
    {GpuGauge::kMemoryFree, "DCGM_FI_DEV_FB_FREE", "memory_free_mib"},
    {GpuGauge::kMemoryReserved, "DCGM_FI_DEV_FB_RESERVED", "memory_reserved_mib"},
    {GpuGauge::kXid, "DCGM_FI_DEV_XID_ERRORS", "xid"},
});
// The first of them have a mean and a peak in reports.
inline constexpr std::span<const GpuGaugeInfo> kShownGpuGauges =
    std::span(kGpuGauges).first<static_cast<size_t>(GpuGauge::kMemoryFree)>();

// Of one GPU on one page. -1: the page says nothing of it.
class GpuReading {
 public:
  GpuReading() { values_.fill(-1); }
  double& operator[](GpuGauge gauge) { return values_[static_cast<size_t>(gauge)]; }
  double operator[](GpuGauge gauge) const { return values_[static_cast<size_t>(gauge)]; }
  friend bool operator==(const GpuReading&, const GpuReading&) = default;

 private:
  std::array<double, kGpuGauges.size()> values_;
};

// As the page's labels have it; empty: they do not.
struct GpuName {
  std::string index;     // of its host: "0"
  std::string instance;  // of a GPU that is shared out (MIG), each of which counts as a GPU
  std::string uuid;      // of the whole GPU
  std::string model;
  std::string host;
  std::string pod;  // on Kubernetes, as "namespace/pod"
};

struct GpuSample {
  int64_t unix_ns = 0;  // when the page was here, since 1970
  // In the order of the series' GPUs; those found later are missing at the end.
  std::vector<GpuReading> readings;

  // -1: not known.
  [[nodiscard]] double value(size_t gpu, GpuGauge gauge) const {
    return gpu < readings.size() ? readings[gpu][gauge] : -1;
  }
};

struct GpuSeries {
  std::string target;              // HOST:PORT of the page
  std::vector<GpuName> gpus;       // in the order in which they were found
  std::vector<GpuSample> samples;  // in order of time
  int64_t scrapes = 0;             // tried
  int64_t failures = 0;
  std::string first_failure;
};

inline constexpr size_t kMostGpusOfAPage = 1024;

// Puts what a page says at the end. Fails where it says nothing of any GPU, as an exporter's does
// until it has asked DCGM for the first time.
absl::Status add_page(std::span<const MetricSeries> page, int64_t unix_ns, GpuSeries& series);

}  // namespace switchyard
