#include "client/load/figure_text.h"

#include <algorithm>
#include <cmath>

#include "client/load/format.h"

namespace switchyard {
namespace {

std::string rate_text(const Estimate& rate, std::string_view what) {
  std::string text = short_number(rate.value) + " " + std::string(what);
  if (rate.high > rate.low) text += " (" + interval_text(rate) + ")";
  return text;
}

std::string tokens_text(const TokenFigures& tokens) {
  std::string text = with_thousands(tokens.output) + " output";
  if (tokens.output_by_usage != tokens.output) {
    text += " (" + with_thousands(tokens.output_by_usage) + " by usage)";
  }
  text += ", " + with_thousands(tokens.prompt) + " prompt";
  if (tokens.prompt > 0) {
    text += ", " +
            percent(static_cast<double>(tokens.cached) / static_cast<double>(tokens.prompt)) +
            " of them cached";
  }
  if (tokens.preemptions > 0) text += "; preemptions " + with_thousands(tokens.preemptions);
  return text;
}

std::string sessions_text(const SessionFigures& sessions) {
  std::string text;
  if (sessions.sessions > 0) {
    text =
        with_thousands(sessions.sessions) + " with " + with_thousands(sessions.turns) + " turns; ";
  }
  if (sessions.later_turns > 0) {
    text += percent(static_cast<double>(sessions.same_node) /
                    static_cast<double>(sessions.later_turns)) +
            " of turns on the node of the turn before; ";
  }
  return text + "Jain fairness " + format("%.3f", sessions.fairness);
}

std::string client_text(const RunFacts& facts) {
  const Lateness& lateness = facts.lateness;
  return format(
      "%s of %s sends over 10 ms late, worst %s ms; CPU %s s in %s s; at most %d in flight",
      with_thousands(lateness.late_sends).c_str(), with_thousands(lateness.sends).c_str(),
      short_number(static_cast<double>(lateness.worst_ns) / 1e6).c_str(),
      short_number(facts.client_cpu_seconds).c_str(),
      short_number(static_cast<double>(facts.wall_ns) / 1e9).c_str(), facts.peak_in_flight);
}

// Of the UTF-8 character that `text` begins with; 0: it begins with none (RFC 3629).
size_t character_length(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const unsigned char second = byte(1);
  const bool too_long = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  const bool surrogate = first == 0xED && second >= 0xA0;
  const bool too_high = first == 0xF4 && second >= 0x90;
  return too_long || surrogate || too_high ? 0 : length;
}

}  // namespace

std::string short_number(double value) {
  if (!std::isfinite(value)) return value > 0 ? "inf" : "-";
  const double size = std::abs(value);
  if (size >= 99.95 || value == 0) return format("%.0f", value);
  if (size >= 9.995) return format("%.1f", value);
  return size >= 0.1 ? format("%.2f", value) : format("%.3f", value);
}

std::string with_thousands(int64_t value) {
  std::string digits = std::to_string(value);
  const size_t first = value < 0 ? 1 : 0;
  for (size_t at = digits.size(); at > first + 3;) digits.insert(at -= 3, ",");
  return digits;
}

std::string percent(double share) {
  const double value = share * 100;
  return (std::abs(value) >= 10 ? format("%.1f", value) : format("%.2f", value)) + " %";
}

std::string interval_text(const Estimate& estimate) {
  return short_number(estimate.low) + " to " + short_number(estimate.high);
}

std::string slo_text(const Slo& slo) {
  std::string text;
  const auto add = [&text](const char* name, const std::optional<double>& limit) {
    if (!limit) return;
    text += (text.empty() ? "" : ", ") + std::string(name) + " " + short_number(*limit) + " ms";
  };
  add("TTFT", slo.ttft_ms);
  add("TPOT", slo.tpot_ms);
  add("ITL", slo.itl_ms);
  add("E2E", slo.e2e_ms);
  return text;
}

std::string outcomes_text(const Outcomes& outcomes) {
  std::string text = with_thousands(outcomes.asked) + " asked, " +
                     with_thousands(outcomes.completed) + " completed, " +
                     with_thousands(outcomes.failed) + " failed";
  if (outcomes.failed + outcomes.broken > 0) text += " (" + percent(outcomes.error_share()) + ")";
  if (outcomes.broken > 0) text += ", " + with_thousands(outcomes.broken) + " broken streams";
  if (outcomes.cut > 0) text += ", " + with_thousands(outcomes.cut) + " cut by the end";
  const int64_t refused = outcomes.refused_with_hint + outcomes.refused_without_hint;
  if (refused > 0) {
    text += "; refused " + with_thousands(refused) + ", " +
            with_thousands(outcomes.refused_with_hint) + " of them with RetryInfo";
  }
  if (outcomes.lost > 0) {
    text += "; lost " + with_thousands(outcomes.lost) + " after they had begun to answer";
  }
  if (outcomes.retried > 0) {
    text += "; retried " + with_thousands(outcomes.retried) + ", of which completed " +
            with_thousands(outcomes.retried_completed);
    if (outcomes.moved > 0) text += ", " + with_thousands(outcomes.moved) + " by another target";
  }
  return text;
}

std::string energy_text(const GpuEnergy& energy) {
  std::string text = short_number(energy.joules / 1e3) + " kJ by " + with_thousands(energy.gpus) +
                     (energy.gpus == 1 ? " GPU" : " GPUs");
  if (energy.tokens_per_joule >= 0) {
    text += ", " + short_number(energy.tokens_per_joule) + " output tokens/J";
  }
  return text + "; from " + short_number(energy.from_seconds) + " s to " +
         short_number(energy.to_seconds) + " s";
}

std::string subject_text(const RunFacts& facts) {
  std::string text = facts.model.empty() ? "the node's model" : facts.model;
  if (facts.targets.empty()) return text;
  text += " at " + facts.targets.front();
  if (facts.targets.size() > 1) text += format(" and %zu more", facts.targets.size() - 1);
  return text;
}

std::vector<SummaryLine> summary_lines(const Report& report) {
  std::vector<SummaryLine> lines;
  if (!report.refused()) {
    const Figures& figures = report.figures;
    const Rates& rates = figures.rates;
    lines.push_back({"requests", outcomes_text(figures.outcomes)});
    lines.push_back({"rates", rate_text(rates.requests_per_second, "requests/s") + ", " +
                                  rate_text(rates.output_tokens_per_second, "output tokens/s") +
                                  ", " +
                                  rate_text(rates.input_tokens_per_second, "input tokens/s") +
                                  "; from " + short_number(rates.from_seconds) + " s to " +
                                  short_number(rates.to_seconds) + " s"});
    lines.push_back({"tokens", tokens_text(figures.tokens)});
    if (figures.goodput) {
      std::string text = percent(figures.goodput->share) + " good, " +
                         rate_text(figures.goodput->per_second, "requests/s") + ", " +
                         short_number(figures.goodput->tokens_per_second.value) +
                         " output tokens/s";
      const std::string slo = slo_text(report.objectives.all);
      if (!slo.empty()) text += "; good is " + slo;
      lines.push_back({"goodput", text});
    }
    lines.push_back({"sessions", sessions_text(figures.sessions)});
    if (report.gpus.energy) lines.push_back({"energy", energy_text(*report.gpus.energy)});
  }
  if (report.facts.greedy) {
    const auto& pairs = *report.facts.greedy;
    lines.push_back({"greedy", std::to_string(count_diverged(pairs)) + " of " +
                                   std::to_string(pairs.size()) +
                                   " answers differ from those asked alone"});
  }
  lines.push_back({"client", client_text(report.facts)});
  return lines;
}

std::string one_line(std::string_view text) {
  std::string shown;
  shown.reserve(text.size());
  while (!text.empty()) {
    const size_t length = character_length(text);
    const auto first = static_cast<unsigned char>(text.front());
    const bool is_c1 = length == 2 && first == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0;
    const bool is_control = length == 1 && (first < 0x20 || first == 0x7F);
    shown += length == 0 || is_c1 || is_control ? "\xEF\xBF\xBD" : text.substr(0, length);
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return shown;
}

}  // namespace switchyard
