// The report as JSON, schema `switchyard-load/1`: what `switchyard load compare` and scripts read.
// Fields are documented in client/README.md. What is not known is null, never zero.
#pragma once

#include <iosfwd>
#include <nlohmann/json.hpp>

#include "client/load/report.h"

namespace switchyard {

nlohmann::ordered_json report_json(const Report& report);

// On several lines. Text of other processes that is no UTF-8 has U+FFFD where it is not.
void write_json(const nlohmann::ordered_json& json, std::ostream& out);

}  // namespace switchyard
