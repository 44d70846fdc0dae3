// Numbers as people read them, the same in the terminal's table, in the page and in a comparison.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "client/load/report.h"

namespace switchyard {

// Three to four significant digits, no exponent: "0.042", "12.3", "1204".
std::string short_number(double value);
// "1,204,331"
std::string with_thousands(int64_t value);
// "98.7 %"
std::string percent(double share);
// "12.1 to 12.9"
std::string interval_text(const Estimate& estimate);
// "TTFT 500 ms, TPOT 50 ms"; empty where nothing is asked for.
std::string slo_text(const Slo& slo);
// "120 asked, 118 completed, 2 failed (1.67 %); 2 lost after they had begun"
std::string outcomes_text(const Outcomes& outcomes);
// "lfm2 at 127.0.0.1:50051 and 2 more"
std::string subject_text(const RunFacts& facts);

// "12.3 kJ by 2 GPUs, 6.82 output tokens/J; from 10.0 s to 120 s"
std::string energy_text(const GpuEnergy& energy);

// A line of the summary: what it is of, and the figures in words.
struct SummaryLine {
  std::string name;
  std::string text;
};
// Requests, rates, tokens, goodput, sessions, client: what is there.
std::vector<SummaryLine> summary_lines(const Report& report);

// Text of another process for a terminal or a page: in one line, with U+FFFD for control characters
// and for what is no UTF-8.
std::string one_line(std::string_view text);

}  // namespace switchyard
