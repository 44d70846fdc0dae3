// GPUs in a report: the same figures as lines of the terminal's table, as a section of the page and
// as JSON. What no page has is left out, or null.
#pragma once

#include <iosfwd>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "client/load/report.h"

namespace switchyard {

void write_gpus(const GpuViews& gpus, std::ostream& out);

// With charts; empty: no page was asked for.
std::string gpu_section(const Report& report);

nlohmann::ordered_json gpus_json(const GpuViews& gpus, const RunFacts& facts);

}  // namespace switchyard
