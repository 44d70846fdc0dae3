#include "client/load/load_spec.h"

#include <google/protobuf/util/json_util.h>

#include <cmath>
#include <limits>
#include <set>

#include "client/load/failure.h"
#include "client/load/json_fields.h"
#include "client/load/words.h"

namespace switchyard {
namespace {

constexpr int32_t kMostTokens = 1 << 22;
constexpr int64_t kMostMilliseconds = 86'400'000;
constexpr double kMostSeconds = 7 * 86'400;
constexpr double kMostRate = 1e6;
constexpr double kLeastRate = 1e-4;
constexpr size_t kMostPathBytes = 4096;
constexpr SpreadLimits kWait{0, kMostMilliseconds};

void read_faults(const nlohmann::json& json,
                 const std::string& path,
                 std::string& problem,
                 FaultSpec& faults) {
  JsonFields fields(json, path, problem);
  fields.number("cancel", faults.cancel, 0, 1);
  fields.spread("cancel_after_ms", faults.cancel_after_ms, kWait);
  fields.spread("cancel_after_tokens", faults.cancel_after_tokens, {0, kMostTokens});
  if (fields.has("cancel_after_ms") && fields.has("cancel_after_tokens")) {
    fields.complain("cancel_after_tokens", "excludes cancel_after_ms");
  }
  fields.number("deadline", faults.deadline, 0, 1);
  fields.spread("deadline_ms", faults.deadline_ms, {1, kMostMilliseconds});
  fields.number("slow_reader", faults.slow_reader, 0, 1);
  fields.spread("pause_ms", faults.pause_ms, kWait);
  fields.number("malformed", faults.malformed, 0, 1);
  constexpr double kRounding = 1e-9;
  if (faults.cancel + faults.deadline + faults.slow_reader + faults.malformed > 1 + kRounding) {
    fields.complain("malformed",
                    "the shares of cancel, deadline, slow_reader and malformed add up "
                    "to more than 1");
  }
  fields.refuse_others();
}

void read_sampling(JsonFields& fields, v1::SamplingParameters& sampling) {
  const nlohmann::json* json = fields.object("sampling");
  if (json == nullptr) return;
  const auto status = google::protobuf::util::JsonStringToMessage(json->dump(), &sampling);
  if (!status.ok()) {
    fields.complain("sampling", words("is no SamplingParameters of common.proto: ",
                                      std::string(status.message()).substr(0, 200)));
  }
}

ClassSpec read_class(const nlohmann::json& json, const std::string& path, std::string& problem) {
  ClassSpec kind;
  JsonFields fields(json, path, problem);
  fields.text("name", kind.name, 64);
  if (kind.name.empty()) fields.complain("name", "must not be empty");
  fields.number("share", kind.share, 0, 1e6);
  fields.integer("priority", kind.priority, -100, 100);
  fields.spread("prompt_tokens", kind.prompt_tokens, {1, kMostTokens});
  fields.spread("answer_tokens", kind.answer_tokens, {1, kMostTokens});
  fields.integer("prefix_groups", kind.prefix_groups, 0, 1'000'000);
  fields.integer("prefix_tokens", kind.prefix_tokens, 0, kMostTokens);
  if ((kind.prefix_groups == 0) != (kind.prefix_tokens == 0)) {
    fields.complain("prefix_groups", "and prefix_tokens go together: neither or both are 0");
  }
  fields.spread("turns", kind.turns, {1, 1000});
  fields.spread("think_ms", kind.think_ms, kWait);
  fields.flag("ignore_eos", kind.ignore_eos);
  read_sampling(fields, kind.sampling);
  if (const auto* faults = fields.object("faults")) {
    read_faults(*faults, fields.path_of("faults"), problem, kind.faults);
  }
  fields.refuse_others();
  return kind;
}

std::vector<RatePiece> read_steps(const nlohmann::json& list,
                                  const std::string& path,
                                  std::string& problem) {
  std::vector<RatePiece> pieces;
  for (size_t i = 0; i < list.size(); ++i) {
    JsonFields step(list[i], words(path, "[", i, "]"), problem);
    RatePiece piece;
    step.number("rate", piece.from, 0, kMostRate);
    step.number("seconds", piece.seconds, 1e-3, kMostSeconds);
    if (!step.has("rate")) step.complain("rate", "is missing");
    if (!step.has("seconds")) step.complain("seconds", "is missing");
    step.refuse_others();
    piece.to = piece.from;
    pieces.push_back(piece);
  }
  return pieces;
}

// The one of rate, ramp, steps and sine that is there.
RateCurve read_curve(JsonFields& fields, std::string& problem) {
  if (const auto* ramp = fields.object("ramp")) {
    JsonFields inner(*ramp, fields.path_of("ramp"), problem);
    RatePiece piece;
    inner.number("from", piece.from, 0, kMostRate);
    inner.number("to", piece.to, kLeastRate, kMostRate);
    inner.number("seconds", piece.seconds, 1e-3, kMostSeconds);
    for (const char* name : {"to", "seconds"}) {
      if (!inner.has(name)) inner.complain(name, "is missing");
    }
    inner.refuse_others();
    return std::vector{piece};
  }
  if (const auto* steps = fields.array("steps", 1000)) {
    auto pieces = read_steps(*steps, fields.path_of("steps"), problem);
    if (pieces.empty()) fields.complain("steps", "must not be empty");
    return pieces;
  }
  if (const auto* sine = fields.object("sine")) {
    JsonFields inner(*sine, fields.path_of("sine"), problem);
    RateSine wave;
    inner.number("mean", wave.mean, kLeastRate, kMostRate);
    inner.number("amplitude", wave.amplitude, 0, 1);
    inner.number("period_seconds", wave.period_seconds, 1e-3, kMostSeconds);
    for (const char* name : {"mean", "amplitude", "period_seconds"}) {
      if (!inner.has(name)) inner.complain(name, "is missing");
    }
    inner.refuse_others();
    return wave;
  }
  double rate = 1;
  fields.number("rate", rate, kLeastRate, kMostRate);
  return std::vector{RatePiece{.from = rate, .to = rate, .seconds = 1}};
}

void read_arrival(const nlohmann::json& json, std::string& problem, LoadSpec& spec) {
  JsonFields fields(json, "arrival", problem);
  int ways = 0;
  for (const char* way : {"rate", "ramp", "steps", "sine", "concurrency"}) ways += fields.has(way);
  if (ways != 1 && problem.empty()) {
    problem = "arrival: needs exactly one of rate, ramp, steps, sine and concurrency";
  }
  if (fields.has("concurrency")) {
    ClosedLoop loop;
    fields.integer("concurrency", loop.concurrency, 1, 1'000'000);
    loop.ramp_up_seconds = loop.concurrency / 1000.0;
    fields.number("ramp_up_seconds", loop.ramp_up_seconds, 0, kMostSeconds);
    spec.arrival = loop;
  } else {
    OpenLoop loop;
    loop.rate = read_curve(fields, problem);
    std::string gaps = "poisson";
    fields.text("gaps", gaps, 16);
    if (gaps == "constant") {
      loop.burstiness = std::numeric_limits<double>::infinity();
    } else if (gaps == "gamma") {
      fields.number("burstiness", loop.burstiness, 0.01, 1e6);
      if (!fields.has("burstiness")) fields.complain("burstiness", "is missing");
    } else if (gaps != "poisson") {
      fields.complain("gaps", "must be constant, poisson or gamma");
    }
    spec.arrival = loop;
  }
  fields.refuse_others();
}

void read_trace(const nlohmann::json& json, std::string& problem, TraceSpec& trace) {
  JsonFields fields(json, "trace", problem);
  fields.text("file", trace.file, kMostPathBytes);
  if (trace.file.empty()) fields.complain("file", "is missing");
  fields.number("speed", trace.speed, 1e-6, 1e6);
  fields.integer("block_tokens", trace.block_tokens, 1, 1 << 20);
  fields.integer("most_prompt_tokens", trace.most_prompt_tokens, 1, kMostTokens);
  fields.integer("most_answer_tokens", trace.most_answer_tokens, 1, kMostTokens);
  fields.refuse_others();
}

void read_classes(JsonFields& fields, std::string& problem, LoadSpec& spec) {
  const nlohmann::json* list = fields.array("classes", 1000);
  if (list == nullptr) {
    spec.classes.emplace_back();
    return;
  }
  if (list->empty()) fields.complain("classes", "must not be empty");
  std::set<std::string> names;
  double shares = 0;
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string path = words("classes[", i, "]");
    spec.classes.push_back(read_class((*list)[i], path, problem));
    shares += spec.classes.back().share;
    if (!names.insert(spec.classes.back().name).second && problem.empty()) {
      problem = words(path, ".name: is another class's too");
    }
  }
  if (shares <= 0) fields.complain("classes", "have no share above 0");
}

// What no field can say alone.
std::string contradiction(const LoadSpec& spec) {
  const int sources =
      !spec.trace.file.empty() + !spec.prompts_file.empty() + !spec.replay_file.empty();
  if (sources > 1) return "trace, prompts and replay exclude each other";
  const bool open = std::holds_alternative<OpenLoop>(spec.arrival);
  const bool closed = std::holds_alternative<ClosedLoop>(spec.arrival);
  if (!spec.trace.file.empty() && (open || closed)) {
    return "arrival: a trace has times of its own; trace.speed changes them";
  }
  const bool own_end = !spec.trace.file.empty() || !spec.replay_file.empty();
  if (!own_end && !open && !closed) {
    return "arrival: is missing; it needs one of rate, ramp, steps, sine and concurrency";
  }
  if (!own_end && spec.requests < 0 && spec.duration_seconds < 0) {
    return "duration_seconds: is missing, and so is requests; one of them must end the load";
  }
  if (spec.duration_seconds >= 0 &&
      spec.warmup_seconds + spec.cooldown_seconds >= spec.duration_seconds) {
    return "warmup_seconds: with cooldown_seconds leaves nothing of duration_seconds";
  }
  if (closed && spec.conversations_at_once != 1) {
    return "conversations_at_once: is the concurrency in a closed loop";
  }
  return {};
}

}  // namespace

absl::StatusOr<LoadSpec> parse_load_spec(const nlohmann::json& json) {
  LoadSpec spec;
  std::string problem;
  JsonFields fields(json, "", problem);
  fields.text("model", spec.model, 256);
  read_classes(fields, problem, spec);
  fields.integer("conversations_at_once", spec.conversations_at_once, 1, 1'000'000);
  if (const auto* trace = fields.object("trace")) read_trace(*trace, problem, spec.trace);
  fields.text("prompts", spec.prompts_file, kMostPathBytes);
  fields.text("replay", spec.replay_file, kMostPathBytes);
  if (const auto* arrival = fields.object("arrival")) read_arrival(*arrival, problem, spec);
  int64_t seed = 1;
  fields.integer("seed", seed, 0, INT64_MAX);
  spec.seed = static_cast<uint64_t>(seed);
  fields.integer("requests", spec.requests, 1, 100'000'000);
  fields.number("duration_seconds", spec.duration_seconds, 0.01, kMostSeconds);
  fields.number("warmup_seconds", spec.warmup_seconds, 0, kMostSeconds);
  fields.number("cooldown_seconds", spec.cooldown_seconds, 0, kMostSeconds);
  fields.number("grace_seconds", spec.grace_seconds, 0, kMostSeconds);
  fields.integer("max_in_flight", spec.max_in_flight, 1, 1'000'000);
  fields.integer("retries", spec.retries, 0, 100);
  fields.number("timeout_seconds", spec.timeout_seconds, 0, kMostSeconds);
  fields.integer("check_greedy", spec.check_greedy, 0, 10'000);
  if (const auto* stop = fields.object("stop")) {
    JsonFields inner(*stop, "stop", problem);
    inner.number("most_errors", spec.stop.most_errors, 0, 1);
    inner.number("saturation_seconds", spec.stop.saturation_seconds, 0, kMostSeconds);
    inner.refuse_others();
  }
  fields.refuse_others();
  if (problem.empty()) problem = contradiction(spec);
  if (!problem.empty()) return failure(problem);
  return spec;
}

nlohmann::json lay_over(nlohmann::json file, const nlohmann::json& flags) {
  if (!file.is_object()) return file;  // parse_load_spec() refuses it
  nlohmann::json rest = flags;
  nlohmann::json of_class = nlohmann::json::object();
  if (const auto found = rest.find("class"); found != rest.end()) {
    of_class = *found;
    rest.erase(found);
  }
  if (const auto arrival = rest.find("arrival"); arrival != rest.end()) {
    for (const char* way : {"rate", "ramp", "steps", "sine", "concurrency"}) {
      if (!arrival->contains(way)) continue;
      if (arrival->contains("concurrency") || !file.contains("arrival") ||
          !file["arrival"].is_object() || file["arrival"].contains("concurrency")) {
        file["arrival"] = nlohmann::json::object();
      }
      for (const char* other : {"rate", "ramp", "steps", "sine"}) file["arrival"].erase(other);
    }
  }
  file.merge_patch(rest);
  if (!of_class.empty()) {
    if (!file.contains("classes"))
      file["classes"] = nlohmann::json::array({nlohmann::json::object()});
    if (file["classes"].is_array()) {
      for (nlohmann::json& kind : file["classes"]) {
        if (kind.is_object()) kind.merge_patch(of_class);
      }
    }
  }
  return file;
}

}  // namespace switchyard
