#include "client/load/report_lines.h"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <string>

namespace switchyard {
namespace {

using Json = nlohmann::ordered_json;

Json or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(); }
Json milliseconds(double seconds) { return seconds < 0 ? Json() : Json(seconds * 1e3); }
Json seconds(int64_t ns) { return ns < 0 ? Json() : Json(static_cast<double>(ns) / 1e9); }
Json known(int32_t value) { return value < 0 ? Json() : Json(value); }

// What ended badly may have arrivals that mean nothing as latencies.
Json request_json(const RequestRecord& record) {
  const bool whole = completed(record);
  Json arrivals = Json::array();
  for (const TokenArrival& arrival : record.arrivals) {
    arrivals.push_back({static_cast<double>(arrival.at_ns) / 1e9, arrival.tokens});
  }
  return {{"number", record.number},
          {"class", record.class_name},
          {"session", record.session < 0 ? Json() : Json(record.session)},
          {"turn", record.turn},
          {"priority", record.priority},
          {"fault", fault_name(record.fault)},
          {"measured", record.measured},
          {"held_back", record.held_back},
          {"cut", record.cut},
          {"intended_seconds", seconds(record.intended_ns)},
          {"sent_seconds", seconds(record.sent_ns)},
          {"end_seconds", seconds(record.end_ns)},
          {"ttft_ms", whole ? or_null(ttft_ms(record)) : Json()},
          {"tpot_ms", whole ? or_null(tpot_ms(record)) : Json()},
          {"e2e_ms", whole ? or_null(e2e_ms(record)) : Json()},
          {"target", record.target},
          {"first_target", record.first_target},
          {"node", record.node_id},
          {"code", code_name(record.code)},
          {"reason", record.reason},
          {"message", record.message},
          {"retry_info", record.retry_hint},
          {"more_attempts", record.more_attempts},
          {"broken", record.broken},
          {"wanted_prompt_tokens", known(record.wanted_prompt_tokens)},
          {"wanted_answer_tokens", known(record.wanted_answer_tokens)},
          {"prompt_tokens", known(record.prompt_tokens)},
          {"cached_tokens", known(record.cached_tokens)},
          {"completion_tokens", known(record.completion_tokens)},
          {"preemptions", known(record.preemptions)},
          {"node_queue_ms", milliseconds(record.queue_seconds)},
          {"node_ttft_ms", milliseconds(record.first_token_seconds)},
          {"node_total_ms", milliseconds(record.total_seconds)},
          {"arrivals", std::move(arrivals)}};
}

// RFC 4180. A name that a spreadsheet would take for a formula gets a quote in front.
std::string cell(std::string_view text) {
  std::string shown;
  if (!text.empty() && std::string_view("=+-@\t\r").find(text.front()) != std::string_view::npos) {
    shown = "'";
  }
  shown += text;
  if (shown.find_first_of("\",\r\n") == std::string::npos) return shown;
  std::string out = "\"";
  for (const char c : shown) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

class CsvTable {
 public:
  explicit CsvTable(std::ostream& out) : out_(out) {
    out_ << "scope,figure,statistic,value,low,high\n";
  }

  void scope(std::string_view name) { scope_ = cell(name); }
  void add(std::string_view figure, std::string_view statistic, double value) {
    begin(figure, statistic);
    out_ << number(value) << ",,\n";
  }
  void add(std::string_view figure, std::string_view statistic, const Estimate& value) {
    begin(figure, statistic);
    out_ << number(value.value) << ',' << number(value.low) << ',' << number(value.high) << '\n';
  }
  void add(const NamedDistribution& one) {
    add(one.name, "count", static_cast<double>(one.values.count));
    if (one.values.count == 0) return;
    add(one.name, "mean", one.values.mean);
    for (size_t i = 0; i < kPercentiles.size(); ++i) {
      add(one.name, kPercentiles[i].name, one.values.percentiles[i]);
    }
    add(one.name, "max", one.values.max);
  }
  void add(const Outcomes& outcomes) {
    const std::pair<const char*, int64_t> counts[] = {
        {"asked", outcomes.asked},
        {"completed", outcomes.completed},
        {"failed", outcomes.failed},
        {"broken", outcomes.broken},
        {"cut", outcomes.cut},
        {"refused_with_retry_info", outcomes.refused_with_hint},
        {"refused_without_retry_info", outcomes.refused_without_hint},
        {"lost", outcomes.lost},
        {"retried", outcomes.retried},
        {"retried_completed", outcomes.retried_completed},
        {"moved", outcomes.moved}};
    for (const auto& [name, count] : counts) add("requests", name, static_cast<double>(count));
  }
  void add(const std::optional<Goodput>& goodput) {
    if (!goodput) return;
    add("goodput", "share", goodput->share);
    add("goodput", "requests_per_second", goodput->per_second);
    add("goodput", "output_tokens_per_second", goodput->tokens_per_second);
  }

 private:
  void begin(std::string_view figure, std::string_view statistic) {
    out_ << scope_ << ',' << cell(figure) << ',' << cell(statistic) << ',';
  }
  static std::string number(double value) {
    if (!std::isfinite(value)) return "";
    char text[40];
    std::snprintf(text, sizeof text, "%.9g", value);
    return text;
  }

  std::ostream& out_;
  std::string scope_;
};

void add_figures(const Figures& figures, CsvTable& table) {
  table.add(figures.outcomes);
  for (const NamedDistribution& one : named_distributions(figures)) table.add(one);
  table.add("rates", "requests_per_second", figures.rates.requests_per_second);
  table.add("rates", "output_tokens_per_second", figures.rates.output_tokens_per_second);
  table.add("rates", "input_tokens_per_second", figures.rates.input_tokens_per_second);
  table.add("tokens", "output", static_cast<double>(figures.tokens.output));
  table.add("tokens", "prompt", static_cast<double>(figures.tokens.prompt));
  table.add("tokens", "cached", static_cast<double>(figures.tokens.cached));
  table.add(figures.goodput);
}

void add_gpus(const GpuViews& gpus, CsvTable& table) {
  const auto add = [&table](std::string_view figure, std::string_view statistic, double value) {
    if (value >= 0) table.add(figure, statistic, value);
  };
  for (const GpuView& gpu : gpus.gpus) {
    table.scope("gpu " + gpu.title);
    for (const GpuGaugeInfo& info : kShownGpuGauges) {
      add(info.name, "mean", gpu[info.gauge].mean);
      add(info.name, "peak", gpu[info.gauge].peak);
    }
    add("memory_total_mib", "value", gpu.memory_total_mib);
    add("energy", "joules", gpu.joules);
    if (gpu.xid_errors) add("xid_errors", "count", static_cast<double>(gpu.xid_errors->size()));
  }
  for (const GpuPages& pages : gpus.pages) {
    table.scope("gpu pages " + pages.target);
    add("pages", "scrapes", static_cast<double>(pages.scrapes));
    add("pages", "failures", static_cast<double>(pages.failures));
    add("pages", "longest_gap_seconds", pages.longest_gap_seconds);
  }
  if (!gpus.energy) return;
  table.scope("all gpus");
  add("energy", "joules", gpus.energy->joules);
  add("energy", "output_tokens", static_cast<double>(gpus.energy->output_tokens));
  add("energy", "tokens_per_joule", gpus.energy->tokens_per_joule);
}

}  // namespace

void write_request_lines(std::span<const RequestRecord> records, std::ostream& out) {
  for (const RequestRecord& record : records) {
    out << request_json(record).dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
  }
}

void write_csv(const Report& report, std::ostream& out) {
  CsvTable table(out);
  const Lateness& lateness = report.facts.lateness;
  table.scope("client");
  table.add("lateness", "sends", static_cast<double>(lateness.sends));
  table.add("lateness", "late_sends", static_cast<double>(lateness.late_sends));
  table.add("lateness", "p99_ms", static_cast<double>(lateness.p99_ns) / 1e6);
  table.add("lateness", "max_ms", static_cast<double>(lateness.worst_ns) / 1e6);
  if (report.refused()) return;
  table.scope("all");
  add_figures(report.figures, table);
  for (const ClassFigures& one : report.figures.classes) {
    table.scope("class " + one.name);
    table.add(one.outcomes);
    for (const NamedDistribution& values : named_distributions(one.latencies)) table.add(values);
    table.add(one.goodput);
  }
  add_gpus(report.gpus, table);
  if (!report.sweep) return;
  for (const SweepLine& line : report.sweep->lines) {
    char rate[40];
    std::snprintf(rate, sizeof rate, "rate %.6g", line.rate);
    table.scope(rate);
    table.add("sweep", "met", line.verdict.met ? 1 : 0);
    if (!line.client_late) add_figures(line.figures, table);
  }
}

}  // namespace switchyard
