// Report: everything that is told of a run, before it is written in one form or another.
// Says first whether there is anything to tell: a client that was late did not make the load that
// it measured, and then there are no figures. Writes nothing (report_*.h).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "client/load/environment.h"
#include "client/load/figures.h"
#include "client/load/gpu_view.h"
#include "client/load/objectives.h"
#include "client/load/run.h"
#include "client/load/server_view.h"
#include "client/load/timeline.h"

namespace switchyard {

inline constexpr char kLoadSchema[] = "switchyard-load/1";
// Of the program, when a report had no figures.
inline constexpr int kExitClientLate = 3;

// One rate of a sweep.
struct SweepLine {
  double rate = 0;
  SweepVerdict verdict;
  bool client_late = false;  // then the rest is empty
  Figures figures;
};

struct SweepSummary {
  std::vector<SweepLine> lines;  // rising rates
  double best_rate = 0;
  bool at_the_limit = false;
};

struct Report {
  Environment environment;
  Objectives objectives;
  RunFacts facts;
  std::string refusal;  // why there are no figures; empty: there are
  // What a reader has to know to read the figures right.
  std::vector<std::string> warnings;
  Figures figures;
  Timeline timeline;
  std::vector<ServerView> servers;
  GpuViews gpus;
  std::optional<SweepSummary> sweep;

  [[nodiscard]] bool refused() const { return !refusal.empty(); }
};

// What is not of the run itself. `servers` and `gpus`: of pages around it.
struct ReportContext {
  Environment environment;
  Objectives objectives;
  std::vector<ServerSeries> servers;
  std::vector<GpuSeries> gpus;
};

Report make_report(const LoadRun& run, ReportContext context);

// The one whose run a report of a sweep shows: at the best rate, or at the lowest where none met
// the objectives. `sweep` has at least one point.
const SweepPoint& shown_point(const SweepResult& sweep);

// Of that run, with all rates beside it.
Report make_sweep_report(const SweepResult& sweep, ReportContext context);

}  // namespace switchyard
