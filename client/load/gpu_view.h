// What pages of GPUs say of a run: each gauge over the measured span, and the energy of all GPUs
// beside the tokens of that time. What else ran on them is in it too.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "client/load/gpu_sample.h"
#include "client/load/run.h"

namespace switchyard {

// Of the straight lines between a gauge's readings. -1: nothing is known of it.
struct GpuFigure {
  double mean = -1;
  double peak = -1;
};

struct GpuView {
  std::string title;  // "GPU 0"; with its page where there are several
  size_t page = 0;    // its place in GpuViews::pages
  size_t place = 0;   // in that page's readings
  GpuName name;
  // The part of the measured span between readings of any gauge. Equal: nothing is known.
  double from_seconds = 0;
  double to_seconds = 0;
  std::array<GpuFigure, kShownGpuGauges.size()> figures;
  double memory_total_mib = -1;  // used, free and reserved, at most
  double joules = -1;            // of that part
  // Since the run began, warm-up included; nothing: the page does not say. The same error twice in
  // a row looks like one.
  std::optional<std::vector<int64_t>> xid_errors;

  [[nodiscard]] const GpuFigure& operator[](GpuGauge gauge) const {
    return figures[static_cast<size_t>(gauge)];
  }
};

// The pages of one exporter.
struct GpuPages {
  std::string target;
  int64_t scrapes = 0;
  int64_t failures = 0;
  std::string first_failure;
  // In the measured span: pages, those of them with a value that the page before had not, and the
  // longest time without a page.
  int64_t pages = 0;
  int64_t renewed = 0;
  double longest_gap_seconds = 0;
  std::vector<GpuSample> samples;  // of the whole run
};

// Of all GPUs, in the part of the measured span in which the power of each is known.
struct GpuEnergy {
  double from_seconds = 0;
  double to_seconds = 0;
  int64_t gpus = 0;  // a shared one counts once
  double joules = 0;
  int64_t output_tokens = 0;     // that arrived in it, whoever asked
  double tokens_per_joule = -1;  // -1: no energy was used
};

struct GpuViews {
  double from_seconds = 0;  // the measured span
  double to_seconds = 0;
  std::vector<GpuPages> pages;
  std::vector<GpuView> gpus;
  std::optional<GpuEnergy> energy;
  std::string no_energy;  // why there is none though there are pages

  // Whether any GPU has it.
  [[nodiscard]] bool has(GpuGauge gauge) const;
};

GpuViews gpu_views(std::vector<GpuSeries> series, const LoadRun& run);

// What a reader has to know of them.
void warn_of_gpus(const GpuViews& views, std::vector<std::string>& warnings);

}  // namespace switchyard
