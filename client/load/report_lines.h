// A run in lines for other programs: each request as one line of JSON, and the figures as CSV.
#pragma once

#include <iosfwd>
#include <span>

#include "client/load/record.h"
#include "client/load/report.h"

namespace switchyard {

// One object for each request, measured or not; fields are documented in client/README.md.
void write_request_lines(std::span<const RequestRecord> records, std::ostream& out);

// scope,figure,statistic,value,low,high: one line for each number of the summary, of each class
// and of each rate of a sweep. Of a refused report: the client's lateness only.
void write_csv(const Report& report, std::ostream& out);

}  // namespace switchyard
