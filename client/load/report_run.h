// A run in a few lines, and whether it kept up: what there is until a report is made of it.
#pragma once

#include <iosfwd>

#include "client/load/run.h"

namespace switchyard {

// Exit code: 0, or 1 when the client was late and the figures mean nothing.
int report_run(const LoadRun& run, std::ostream& out);
int report_sweep(const SweepResult& sweep, std::ostream& out);

// For a sweep: every measured request was answered, and the client was on time.
SweepVerdict judge_run(const LoadRun& run);

}  // namespace switchyard
