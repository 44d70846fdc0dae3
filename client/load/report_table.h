// The report as a table on a terminal: what a person wants to know first.
#pragma once

#include <iosfwd>

#include "client/load/report.h"

namespace switchyard {

void write_table(const Report& report, std::ostream& out);

}  // namespace switchyard
