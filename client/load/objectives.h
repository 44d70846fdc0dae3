// Objectives: how fast an answer has to be to count as good, and how many have to be good.
// Reads them from a command line and judges single requests; adds nothing up (figures.h).
#pragma once

#include <absl/status/status.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "client/load/record.h"

namespace switchyard {

// Milliseconds; what is not given is not asked for.
struct Slo {
  std::optional<double> ttft_ms;  // to the first token, from the intended send
  std::optional<double> tpot_ms;  // mean gap of the answer
  std::optional<double> itl_ms;   // that 99 of 100 gaps of the answer keep
  std::optional<double> e2e_ms;   // to the end, from the intended send

  [[nodiscard]] bool empty() const { return !ttft_ms && !tpot_ms && !itl_ms && !e2e_ms; }
};

struct Objectives {
  Slo all;
  std::map<std::string, Slo> of_class;  // for a class of its own; what it leaves out is as in `all`
  double good_share = 0.99;             // of a class's requests, for a sweep to call a rate met

  [[nodiscard]] Slo of(const std::string& class_name) const;
  [[nodiscard]] bool empty() const { return all.empty() && of_class.empty(); }
};

// "ttft=500ms,tpot=50" for all, "chat:ttft=0.5s" for one class. A number without a unit is
// milliseconds. Called once for each flag; a later one adds to those before.
absl::Status add_objective(std::string_view text, Objectives& objectives);

// Whether an answer that was completed keeps all of it.
bool keeps(const Slo& slo, const RequestRecord& record);

// Of one request, in milliseconds; nothing: it did not come to that.
std::optional<double> ttft_ms(const RequestRecord& record);
std::optional<double> tpot_ms(const RequestRecord& record);
std::optional<double> e2e_ms(const RequestRecord& record);

// Calls take(gap_ms, arrival) for each arrival of tokens after the first one that brought any. An
// arrival of n tokens after dt is n gaps of dt/n. The tokens that came together with the first have
// no gap: their time is in the time to the first token.
template <typename Take>
void each_gap(const RequestRecord& record, const Take& take) {
  int64_t last_ns = -1;
  for (const TokenArrival& arrival : record.arrivals) {
    if (arrival.tokens <= 0) continue;
    if (last_ns >= 0) {
      take(static_cast<double>(arrival.at_ns - last_ns) / 1e6 / arrival.tokens, arrival);
    }
    last_ns = arrival.at_ns;
  }
}

}  // namespace switchyard
