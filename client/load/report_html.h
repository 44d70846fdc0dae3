// The report as one HTML page that loads nothing: tables and charts for a browser, light or dark,
// wide or narrow. All text that came from elsewhere is escaped.
#pragma once

#include <string>

#include "client/load/report.h"

namespace switchyard {

std::string report_html(const Report& report);

}  // namespace switchyard
