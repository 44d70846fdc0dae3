// LoadSpec back to JSON: every field, so that a report's specification says what was run even when
// a later version has other defaults.
#include <google/protobuf/util/json_util.h>

#include <cmath>

#include "client/load/load_spec.h"

namespace switchyard {
namespace {

using nlohmann::json;

// As a number where it is one: that is what people write.
json spread_json(const Spread& spread) {
  return spread.least() == spread.most() ? json(spread.least()) : json(spread.text());
}

json faults_json(const FaultSpec& faults) {
  json out = {{"cancel", faults.cancel},
              {"deadline", faults.deadline},
              {"deadline_ms", spread_json(faults.deadline_ms)},
              {"slow_reader", faults.slow_reader},
              {"pause_ms", spread_json(faults.pause_ms)},
              {"malformed", faults.malformed}};
  const bool by_tokens = faults.cancel_after_tokens.most() > 0;
  out[by_tokens ? "cancel_after_tokens" : "cancel_after_ms"] =
      spread_json(by_tokens ? faults.cancel_after_tokens : faults.cancel_after_ms);
  return out;
}

json class_json(const ClassSpec& kind) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string sampling;
  (void)google::protobuf::util::MessageToJsonString(kind.sampling, &sampling, options);
  return {{"name", kind.name},
          {"share", kind.share},
          {"priority", kind.priority},
          {"prompt_tokens", spread_json(kind.prompt_tokens)},
          {"answer_tokens", spread_json(kind.answer_tokens)},
          {"prefix_groups", kind.prefix_groups},
          {"prefix_tokens", kind.prefix_tokens},
          {"turns", spread_json(kind.turns)},
          {"think_ms", spread_json(kind.think_ms)},
          {"ignore_eos", kind.ignore_eos},
          {"sampling", json::parse(sampling, nullptr, /*allow_exceptions=*/false)},
          {"faults", faults_json(kind.faults)}};
}

json curve_json(const RateCurve& curve) {
  if (const auto* sine = std::get_if<RateSine>(&curve)) {
    return {{"sine",
             {{"mean", sine->mean},
              {"amplitude", sine->amplitude},
              {"period_seconds", sine->period_seconds}}}};
  }
  const auto& pieces = std::get<std::vector<RatePiece>>(curve);
  if (pieces.size() == 1 && pieces[0].from != pieces[0].to) {
    return {
        {"ramp", {{"from", pieces[0].from}, {"to", pieces[0].to}, {"seconds", pieces[0].seconds}}}};
  }
  if (pieces.size() == 1) return {{"rate", pieces[0].to}};
  json steps = json::array();
  for (const RatePiece& piece : pieces) {
    steps.push_back({{"rate", piece.from}, {"seconds", piece.seconds}});
  }
  return {{"steps", steps}};
}

json arrival_json(const OpenLoop& loop) {
  json out = curve_json(loop.rate);
  out["gaps"] = std::isinf(loop.burstiness) ? "constant"
                : loop.burstiness == 1      ? "poisson"
                                            : "gamma";
  if (out["gaps"] == "gamma") out["burstiness"] = loop.burstiness;
  return out;
}

}  // namespace

json to_json(const LoadSpec& spec) {
  json out = {{"model", spec.model},
              {"conversations_at_once", spec.conversations_at_once},
              {"seed", spec.seed},
              {"warmup_seconds", spec.warmup_seconds},
              {"cooldown_seconds", spec.cooldown_seconds},
              {"grace_seconds", spec.grace_seconds},
              {"max_in_flight", spec.max_in_flight},
              {"retries", spec.retries},
              {"timeout_seconds", spec.timeout_seconds},
              {"check_greedy", spec.check_greedy},
              {"stop",
               {{"most_errors", spec.stop.most_errors},
                {"saturation_seconds", spec.stop.saturation_seconds}}}};
  out["classes"] = json::array();
  for (const ClassSpec& kind : spec.classes) out["classes"].push_back(class_json(kind));
  if (!spec.trace.file.empty()) {
    out["trace"] = {{"file", spec.trace.file},
                    {"speed", spec.trace.speed},
                    {"block_tokens", spec.trace.block_tokens},
                    {"most_prompt_tokens", spec.trace.most_prompt_tokens},
                    {"most_answer_tokens", spec.trace.most_answer_tokens}};
  }
  if (!spec.prompts_file.empty()) out["prompts"] = spec.prompts_file;
  if (!spec.replay_file.empty()) out["replay"] = spec.replay_file;
  if (spec.requests >= 0) out["requests"] = spec.requests;
  if (spec.duration_seconds >= 0) out["duration_seconds"] = spec.duration_seconds;
  if (const auto* open = std::get_if<OpenLoop>(&spec.arrival)) out["arrival"] = arrival_json(*open);
  if (const auto* closed = std::get_if<ClosedLoop>(&spec.arrival)) {
    out["arrival"] = {{"concurrency", closed->concurrency},
                      {"ramp_up_seconds", closed->ramp_up_seconds}};
  }
  return out;
}

}  // namespace switchyard
