#include "client/load/objectives.h"

#include <absl/status/statusor.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <vector>

#include "client/load/failure.h"
#include "client/load/statistics.h"

namespace switchyard {
namespace {

constexpr double kLongestMs = 24.0 * 3600 * 1e3;

double ms_between(int64_t from_ns, int64_t to_ns) {
  return static_cast<double>(to_ns - from_ns) / 1e6;
}

// Null where none has brought a token.
const TokenArrival* first_tokens(const RequestRecord& record) {
  const auto found =
      std::ranges::find_if(record.arrivals, [](const TokenArrival& a) { return a.tokens > 0; });
  return found == record.arrivals.end() ? nullptr : &*found;
}

absl::StatusOr<double> parse_milliseconds(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  if (unit == "s") value *= 1e3;
  if (error != std::errc() || !(unit.empty() || unit == "ms" || unit == "s") || !(value > 0) ||
      value > kLongestMs) {
    return failure("'", text, "' is no time such as 500ms or 0.5s, above 0 and up to a day");
  }
  return value;
}

std::optional<double> Slo::*member_of(std::string_view name) {
  if (name == "ttft") return &Slo::ttft_ms;
  if (name == "tpot") return &Slo::tpot_ms;
  if (name == "itl") return &Slo::itl_ms;
  return name == "e2e" ? &Slo::e2e_ms : nullptr;
}

}  // namespace

Slo Objectives::of(const std::string& class_name) const {
  const auto found = of_class.find(class_name);
  if (found == of_class.end()) return all;
  Slo slo = found->second;
  for (const auto member : {&Slo::ttft_ms, &Slo::tpot_ms, &Slo::itl_ms, &Slo::e2e_ms}) {
    if (!(slo.*member)) slo.*member = all.*member;
  }
  return slo;
}

absl::Status add_objective(std::string_view text, Objectives& objectives) {
  const size_t colon = text.rfind(':');
  if (colon == 0) return failure("objective '", text, "': no class before the colon");
  const bool for_class = colon != std::string_view::npos;
  Slo slo;
  for (std::string_view rest = for_class ? text.substr(colon + 1) : text;;) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view item = rest.substr(0, comma);
    const size_t equals = std::min(item.find('='), item.size());
    const auto member = member_of(item.substr(0, equals));
    if (member == nullptr || equals == item.size()) {
      return failure("objective '", text, "': '", item, "' is none of ttft=, tpot=, itl=, e2e=");
    }
    const absl::StatusOr<double> limit = parse_milliseconds(item.substr(equals + 1));
    if (!limit.ok()) return failure("objective '", text, "': ", why(limit.status()));
    slo.*member = *limit;
    if (comma == rest.size()) break;
    rest.remove_prefix(comma + 1);
  }
  Slo& target =
      for_class ? objectives.of_class[std::string(text.substr(0, colon))] : objectives.all;
  for (const auto member : {&Slo::ttft_ms, &Slo::tpot_ms, &Slo::itl_ms, &Slo::e2e_ms}) {
    if (slo.*member) target.*member = slo.*member;
  }
  return absl::OkStatus();
}

std::optional<double> ttft_ms(const RequestRecord& record) {
  const TokenArrival* first = first_tokens(record);
  if (first == nullptr) return {};
  return ms_between(record.intended_ns, first->at_ns);
}

std::optional<double> tpot_ms(const RequestRecord& record) {
  double total_ms = 0;
  int64_t tokens = 0;
  each_gap(record, [&](double gap_ms, const TokenArrival& arrival) {
    total_ms += gap_ms * arrival.tokens;
    tokens += arrival.tokens;
  });
  if (tokens == 0) return {};
  return total_ms / static_cast<double>(tokens);
}

std::optional<double> e2e_ms(const RequestRecord& record) {
  if (record.end_ns < 0) return {};
  return ms_between(record.intended_ns, record.end_ns);
}

bool keeps(const Slo& slo, const RequestRecord& record) {
  // An answer of one token has no gap that could be too long, and one of none no first token.
  const auto within = [](const std::optional<double>& limit, const std::optional<double>& value) {
    return !limit || !value || *value <= *limit;
  };
  if (!within(slo.ttft_ms, ttft_ms(record)) || !within(slo.tpot_ms, tpot_ms(record)) ||
      !within(slo.e2e_ms, e2e_ms(record))) {
    return false;
  }
  if (!slo.itl_ms) return true;
  std::vector<double> gaps;
  each_gap(record, [&](double gap_ms, const TokenArrival& arrival) {
    gaps.insert(gaps.end(), static_cast<size_t>(arrival.tokens), gap_ms);
  });
  std::ranges::sort(gaps);
  return quantile(gaps, 0.99) <= *slo.itl_ms;
}

}  // namespace switchyard
