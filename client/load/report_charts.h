// The charts of the HTML report: which values of a report go into which picture.
#pragma once

#include <vector>

#include "client/load/report.h"
#include "client/load/svg_chart.h"

namespace switchyard {

// Latencies by percentile, with intervals.
std::vector<Chart> latency_charts(const Figures& figures);

// Rates, latencies, requests in flight, queues, caches and errors over the run.
std::vector<Chart> time_charts(const Report& report);

// Utilisation and power of each GPU over the run, as far as its pages have them.
std::vector<Chart> gpu_charts(const Report& report);

// Over the rate that was asked for.
std::vector<Chart> sweep_charts(const SweepSummary& sweep);

}  // namespace switchyard
