#include "client/load/report_json.h"

#include <optional>
#include <ostream>
#include <string>

#include "client/load/json_number.h"
#include "client/load/report_gpus.h"

namespace switchyard {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kLatencyClock[] = "intended send";

Json number(double value) { return json_number(value); }
Json known(double value) { return json_known(value); }
Json seconds(int64_t ns) { return static_cast<double>(ns) / 1e9; }

Json estimate_json(const Estimate& estimate) {
  return {{"value", number(estimate.value)},
          {"low", number(estimate.low)},
          {"high", number(estimate.high)}};
}

Json distribution_json(const Distribution& d) {
  Json json = {{"count", d.count}};
  if (d.count == 0) return json;
  json["groups"] = d.groups;
  json["min"] = number(d.min);
  json["max"] = number(d.max);
  json["deviation"] = number(d.deviation);
  json["mean"] = estimate_json(d.mean);
  for (size_t i = 0; i < kPercentiles.size(); ++i) {
    json[kPercentiles[i].name] = estimate_json(d.percentiles[i]);
  }
  return json;
}

Json slo_json(const Slo& slo) {
  Json json = Json::object();
  if (slo.ttft_ms) json["ttft_ms"] = *slo.ttft_ms;
  if (slo.tpot_ms) json["tpot_ms"] = *slo.tpot_ms;
  if (slo.itl_ms) json["itl_ms"] = *slo.itl_ms;
  if (slo.e2e_ms) json["e2e_ms"] = *slo.e2e_ms;
  return json;
}

Json objectives_json(const Objectives& objectives) {
  if (objectives.empty()) return nullptr;
  Json json = {{"all", slo_json(objectives.all)},
               {"classes", Json::object()},
               {"good_share", objectives.good_share}};
  for (const auto& [name, slo] : objectives.of_class) json["classes"][name] = slo_json(slo);
  return json;
}

Json outcomes_json(const Outcomes& outcomes) {
  return {{"asked", outcomes.asked},
          {"completed", outcomes.completed},
          {"failed", outcomes.failed},
          {"broken", outcomes.broken},
          {"cut", outcomes.cut},
          {"error_share", number(outcomes.error_share())},
          {"refused_with_retry_info", outcomes.refused_with_hint},
          {"refused_without_retry_info", outcomes.refused_without_hint},
          {"more_attempts", outcomes.more_attempts},
          {"lost", outcomes.lost},
          {"retried", outcomes.retried},
          {"retried_completed", outcomes.retried_completed},
          {"moved", outcomes.moved}};
}

Json goodput_json(const std::optional<Goodput>& goodput) {
  if (!goodput) return nullptr;
  return {{"good", goodput->good},
          {"share", number(goodput->share)},
          {"requests_per_second", estimate_json(goodput->per_second)},
          {"output_tokens_per_second", estimate_json(goodput->tokens_per_second)}};
}

template <typename Named>
Json latencies_json(const Named& distributions) {
  Json json = Json::object();
  for (const NamedDistribution& one : distributions) {
    json[std::string(one.name)] = distribution_json(one.values);
  }
  return json;
}

Json rates_json(const Rates& rates) {
  return {{"from_seconds", number(rates.from_seconds)},
          {"to_seconds", number(rates.to_seconds)},
          {"requests_per_second", estimate_json(rates.requests_per_second)},
          {"output_tokens_per_second", estimate_json(rates.output_tokens_per_second)},
          {"input_tokens_per_second", estimate_json(rates.input_tokens_per_second)}};
}

Json tokens_json(const TokenFigures& tokens) {
  const bool asked = tokens.prompt > 0;
  return {{"output", tokens.output},
          {"output_by_usage", tokens.output_by_usage},
          {"disagreeing_requests", tokens.disagreeing},
          {"requests_without_usage", tokens.without_usage},
          {"prompt", tokens.prompt},
          {"cached", tokens.cached},
          {"cached_share",
           asked ? number(static_cast<double>(tokens.cached) / static_cast<double>(tokens.prompt))
                 : Json()},
          {"preemptions", tokens.preemptions}};
}

Json sessions_json(const SessionFigures& sessions) {
  const bool any = sessions.later_turns > 0;
  return {{"sessions", sessions.sessions},
          {"turns", sessions.turns},
          {"turns_after_another", sessions.later_turns},
          {"on_the_same_node", sessions.same_node},
          {"stickiness", any ? number(static_cast<double>(sessions.same_node) /
                                      static_cast<double>(sessions.later_turns))
                             : Json()},
          {"jain_fairness", number(sessions.fairness)}};
}

Json events_json(const std::vector<EventFigures>& events) {
  const auto known_seconds = [](int64_t ns) { return ns < 0 ? Json() : seconds(ns); };
  Json json = Json::array();
  for (const auto& [event, outcomes] : events) {
    json.push_back({{"what", event.what},
                    {"planned_seconds", seconds(event.planned_ns)},
                    {"began_seconds", known_seconds(event.began_ns)},
                    {"ended_seconds", known_seconds(event.ended_ns)},
                    {"succeeded", event.succeeded},
                    {"outcome", event.outcome},
                    {"from_then_on", outcomes_json(outcomes)}});
  }
  return json;
}

Json summary_json(const Figures& figures) {
  Json json = {{"outcomes", outcomes_json(figures.outcomes)},
               {"latency_from", kLatencyClock},
               {"latencies", latencies_json(named_distributions(figures))},
               {"rates", rates_json(figures.rates)},
               {"goodput", goodput_json(figures.goodput)},
               {"tokens", tokens_json(figures.tokens)},
               {"sessions", sessions_json(figures.sessions)}};
  json["errors"] = Json::array();
  for (const ErrorFigures& error : figures.errors) {
    json["errors"].push_back({{"code", code_name(error.code)},
                              {"reason", error.reason},
                              {"count", error.count},
                              {"with_retry_info", error.with_hint},
                              {"example", error.example}});
  }
  json["faults"] = Json::array();
  for (const FaultFigures& fault : figures.faults) {
    Json codes = Json::object();
    for (const auto& [code, count] : fault.codes) codes[code_name(code)] = count;
    json["faults"].push_back(
        {{"fault", fault_name(fault.fault)}, {"asked", fault.asked}, {"ended", codes}});
  }
  json["nodes"] = Json::array();
  for (const NodeFigures& node : figures.nodes) {
    json["nodes"].push_back({{"node", node.name},
                             {"outcomes", outcomes_json(node.outcomes)},
                             {"output_tokens", node.output_tokens},
                             {"cached_share", number(node.cached_share)},
                             {"ttft_p50_ms", number(node.ttft_p50_ms)},
                             {"ttft_p99_ms", number(node.ttft_p99_ms)}});
  }
  json["events"] = events_json(figures.events);
  json["classes"] = Json::array();
  for (const ClassFigures& one : figures.classes) {
    json["classes"].push_back({{"class", one.name},
                               {"outcomes", outcomes_json(one.outcomes)},
                               {"latencies", latencies_json(named_distributions(one.latencies))},
                               {"goodput", goodput_json(one.goodput)}});
  }
  return json;
}

Json server_distribution_json(const ServerDistribution& d) {
  Json json = {{"count", d.count}};
  if (d.count == 0) return json;
  json["mean"] = number(d.mean_ms);
  for (size_t i = 0; i < kPercentiles.size(); ++i) {
    json[kPercentiles[i].name] = estimate_json(d.percentiles_ms[i]);
  }
  return json;
}

Json server_json(const ServerView& server, const RunFacts& facts) {
  Json json = {{"target", server.target},
               {"version", server.version},
               {"scrapes", server.scrapes},
               {"failures", server.failures},
               {"first_failure", server.first_failure},
               {"restarted", server.restarted},
               {"from_seconds", number(server.from_seconds)},
               {"to_seconds", number(server.to_seconds)},
               {"ttft_ms", server_distribution_json(server.ttft)},
               {"itl_ms", server_distribution_json(server.itl)},
               {"queue_ms", server_distribution_json(server.queue)},
               {"e2e_ms", server_distribution_json(server.e2e)},
               {"generation_tokens", known(server.generation_tokens)},
               {"computed_prompt_tokens", known(server.computed_prompt_tokens)},
               {"cached_prompt_tokens", known(server.cached_prompt_tokens)},
               {"preemptions", known(server.preemptions)},
               {"rejected", known(server.rejected)},
               {"peak_running", known(server.peak_running)},
               {"peak_waiting", known(server.peak_waiting)},
               {"peak_cache_usage", known(server.peak_cache_usage)}};
  Json& samples = json["samples"] = Json::array();
  for (const ServerSample& sample : server.samples) {
    samples.push_back({{"at_seconds", number(seconds_into(facts, sample.unix_ns))},
                       {"running", known(sample.running)},
                       {"waiting", known(sample.waiting)},
                       {"cache_usage", known(sample.cache_usage)},
                       {"generation_tokens", known(sample.generation_tokens)},
                       {"preemptions", known(sample.preemptions)}});
  }
  return json;
}

Json timeline_json(const Timeline& timeline) {
  Json windows = Json::array();
  for (const Window& window : timeline.windows) {
    windows.push_back({{"from_seconds", number(window.from_seconds)},
                       {"intended", window.intended},
                       {"sent", window.sent},
                       {"completed", window.completed},
                       {"failed", window.failed},
                       {"refused", window.refused},
                       {"output_tokens", window.output_tokens},
                       {"in_flight", window.in_flight},
                       {"held_back", window.held_back},
                       {"ttft_p50_ms", known(window.ttft_p50_ms)},
                       {"ttft_p99_ms", known(window.ttft_p99_ms)},
                       {"itl_p50_ms", known(window.itl_p50_ms)},
                       {"itl_p99_ms", known(window.itl_p99_ms)}});
  }
  return {{"width_seconds", timeline.width_seconds}, {"windows", windows}};
}

Json sweep_json(const SweepSummary& sweep) {
  Json lines = Json::array();
  for (const SweepLine& line : sweep.lines) {
    lines.push_back({{"rate", number(line.rate)},
                     {"met", line.verdict.met},
                     {"why", line.verdict.why},
                     {"client_late", line.client_late},
                     {"summary", line.client_late ? Json() : summary_json(line.figures)}});
  }
  return {{"best_rate", number(sweep.best_rate)},
          {"at_the_limit", sweep.at_the_limit},
          {"points", lines}};
}

std::string_view reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::kCount:
      return "count";
    case StopReason::kDuration:
      return "duration";
    case StopReason::kInterrupted:
      return "interrupted";
    case StopReason::kErrors:
      return "errors";
    case StopReason::kSaturated:
      return "saturated";
  }
  return "unknown";
}

Json run_json(const RunFacts& facts) {
  Json json = {{"model", facts.model},
               {"targets", facts.targets},
               {"channels_per_target", facts.channels},
               {"balance", facts.balance},
               {"warmup_seconds", seconds(facts.warmup_ns)},
               {"measured_from_seconds", seconds(facts.measured_from_ns)},
               {"measured_to_seconds", seconds(facts.measured_to_ns)},
               {"wall_seconds", seconds(facts.wall_ns)},
               {"client_cpu_seconds", number(facts.client_cpu_seconds)},
               {"max_in_flight", facts.max_in_flight},
               {"peak_in_flight", facts.peak_in_flight},
               {"held_back", facts.held_back},
               {"unsent_turns", facts.unsent_turns},
               {"stop_reason", reason_name(facts.stop_reason)},
               {"stop_detail", facts.stop_detail}};
  json["greedy"] = nullptr;
  if (!facts.greedy) return json;
  json["greedy"] = Json::array();
  for (const GreedyComparison& one : *facts.greedy) {
    json["greedy"].push_back(
        {{"number", one.number},
         {"tokens", one.tokens},
         {"diverged_at", one.diverged_at < 0 ? Json() : Json(one.diverged_at)}});
  }
  return json;
}

Json lateness_json(const Lateness& lateness) {
  return {{"sends", lateness.sends},
          {"late_sends", lateness.late_sends},
          {"late_above_ms", Lateness::kLateNs / 1e6},
          {"tolerable_share", Lateness::kTolerableShare},
          {"tolerable", lateness.tolerable()},
          {"p50_ms", number(static_cast<double>(lateness.median_ns) / 1e6)},
          {"p99_ms", number(static_cast<double>(lateness.p99_ns) / 1e6)},
          {"max_ms", number(static_cast<double>(lateness.worst_ns) / 1e6)}};
}

Json environment_json(const Environment& environment, const RunFacts& facts) {
  return {{"version", facts.version},
          {"commit", facts.commit.empty() ? Json() : Json(facts.commit)},
          {"host", environment.host},
          {"system", environment.system},
          {"processor", environment.processor},
          {"cores", environment.cores},
          {"command_line", environment.command_line},
          {"start_unix_seconds", seconds(facts.start_unix_ns)},
          {"end_unix_seconds", seconds(facts.start_unix_ns + facts.wall_ns)}};
}

}  // namespace

Json report_json(const Report& report) {
  Json workload = Json::parse(report.facts.spec_json, nullptr, /*allow_exceptions=*/false);
  if (workload.is_discarded()) workload = report.facts.spec_json;
  Json json = {{"schema", kLoadSchema},
               {"seed", report.facts.seed},
               {"environment", environment_json(report.environment, report.facts)},
               {"workload", std::move(workload)},
               {"objectives", objectives_json(report.objectives)},
               {"run", run_json(report.facts)},
               {"lateness", lateness_json(report.facts.lateness)},
               {"refused", report.refused() ? Json(report.refusal) : Json()},
               {"warnings", report.warnings}};
  if (report.refused()) return json;
  json["summary"] = summary_json(report.figures);
  json["timeline"] = timeline_json(report.timeline);
  json["servers"] = Json::array();
  for (const ServerView& server : report.servers) {
    json["servers"].push_back(server_json(server, report.facts));
  }
  json["gpus"] = gpus_json(report.gpus, report.facts);
  json["sweep"] = report.sweep ? sweep_json(*report.sweep) : Json();
  return json;
}

void write_json(const Json& json, std::ostream& out) {
  out << json.dump(1, ' ', false, Json::error_handler_t::replace) << '\n';
}

}  // namespace switchyard
