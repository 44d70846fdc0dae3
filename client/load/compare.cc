#include "client/load/compare.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <initializer_list>
#include <iomanip>
#include <ostream>

#include "client/load/bounded_json.h"
#include "client/load/failure.h"
#include "client/load/figure_text.h"
#include "client/load/report.h"

namespace switchyard {
namespace {

using nlohmann::json;
using Path = std::initializer_list<const char*>;

constexpr double kLeastMs = 0.1;
constexpr double kLeastBeyond = 5;

// Null where there is none.
const json& field(const json& root, Path path) {
  static const json null;
  const json* at = &root;
  for (const char* name : path) {
    if (!at->is_object()) return null;
    const auto found = at->find(name);
    if (found == at->end()) return null;
    at = &*found;
  }
  return *at;
}

std::optional<double> number_of(const json& value) {
  if (!value.is_number()) return {};
  const double number = value.get<double>();
  if (!std::isfinite(number)) return {};
  return number;
}

std::optional<Estimate> estimate_of(const json& value) {
  const auto middle = number_of(field(value, {"value"}));
  if (!middle) return {};
  return Estimate{*middle, number_of(field(value, {"low"})).value_or(*middle),
                  number_of(field(value, {"high"})).value_or(*middle)};
}

std::string short_dump(const json& value) {
  std::string text = value.is_string() ? value.get<std::string>()
                                       : value.dump(-1, ' ', false, json::error_handler_t::replace);
  constexpr size_t kMost = 120;
  if (text.size() > kMost) text = text.substr(0, kMost) + "...";
  return one_line(text);
}

bool is_sweep(const json& report) { return field(report, {"sweep"}).is_object(); }

// The load without what a sweep varies from run to run.
json swept_workload(json workload) {
  if (workload.is_object()) {
    workload.erase("arrival");
    workload.erase("seed");
  }
  return workload;
}

// The first part of a workload that differs, by its name.
std::string difference_of(const json& base, const json& now) {
  if (base.is_object() && now.is_object()) {
    for (const auto& [name, value] : base.items()) {
      if (now.find(name) == now.end() || now[name] != value) return name;
    }
    for (const auto& [name, value] : now.items()) {
      if (base.find(name) == base.end()) return name;
    }
  }
  return "itself";
}

absl::Status check_same_load(const json& base, const json& now) {
  for (const json* report : {&base, &now}) {
    const char* which = report == &base ? "the base" : "the new report";
    const json& refused = field(*report, {"refused"});
    if (!refused.is_null()) return failure(which, ": ", short_dump(refused));
    if (!field(*report, {"summary"}).is_object()) return failure(which, " has no summary");
  }
  if (is_sweep(base) != is_sweep(now)) return failure("one report is a sweep, the other is not");
  json base_workload = field(base, {"workload"});
  json now_workload = field(now, {"workload"});
  if (is_sweep(base)) {
    base_workload = swept_workload(std::move(base_workload));
    now_workload = swept_workload(std::move(now_workload));
  }
  if (base_workload != now_workload) {
    return failure("the workloads differ, in '",
                   one_line(difference_of(base_workload, now_workload)), "'");
  }
  const auto same = [&](const char* name, const json& base_value, const json& now_value) {
    if (base_value == now_value) return absl::OkStatus();
    return failure("the base has ", name, " '", short_dump(base_value), "', the new report '",
                   short_dump(now_value), "'");
  };
  if (!is_sweep(base)) {
    absl::Status seed = same("seed", field(base, {"seed"}), field(now, {"seed"}));
    if (!seed.ok()) return seed;
  }
  absl::Status model = same("model", field(base, {"run", "model"}), field(now, {"run", "model"}));
  if (!model.ok()) return model;
  return same("objectives", field(base, {"objectives"}), field(now, {"objectives"}));
}

class Comparison {
 public:
  Comparison(const json& base, const json& now) : base_(base), now_(now) {}

  void add_higher(const std::string& name, Path path) {
    add_higher(name, estimate_or_number(field(base_, path)), estimate_or_number(field(now_, path)));
  }
  // Mean and percentiles of a distribution in milliseconds.
  void add_latency(const std::string& title, const char* name) {
    const json& base = field(base_, {"summary", "latencies", name});
    const json& now = field(now_, {"summary", "latencies", name});
    const double count = std::min(number_of(field(base, {"count"})).value_or(0),
                                  number_of(field(now, {"count"})).value_or(0));
    const auto add_one = [&](const char* statistic, const char* shown, double beyond) {
      const auto before = estimate_of(field(base, {statistic}));
      if (!before) return;
      FigureChange change{.name = title + " " + shown + ", ms",
                          .base = *before,
                          .now = estimate_of(field(now, {statistic})),
                          .few = count * beyond < kLeastBeyond,
                          .least_difference = kLeastMs};
      // What is not there at all is not a matter of how many values it rests on.
      if (!change.now) change.few = false;
      changes_.push_back(std::move(change));
    };
    add_one("mean", "mean", 1);
    for (const Percentile& one : kPercentiles) add_one(one.name, one.title, 1 - one.share);
  }
  // Of those that ended by themselves, how many did well: 99 of 100 to 98 is little worse, but 1
  // error of 100 to 2 would be twice as bad.
  void add_completed() {
    const auto share = [](const json& report) -> std::optional<Estimate> {
      const auto errors = number_of(field(report, {"summary", "outcomes", "error_share"}));
      if (!errors) return {};
      return Estimate{100 * (1 - *errors), 100 * (1 - *errors), 100 * (1 - *errors)};
    };
    add_higher("completed, %", share(base_), share(now_));
  }

  std::vector<FigureChange> take() { return std::move(changes_); }

 private:
  static std::optional<Estimate> estimate_or_number(const json& value) {
    if (const auto number = number_of(value)) return Estimate{*number, *number, *number};
    return estimate_of(value);
  }
  void add_higher(const std::string& name,
                  const std::optional<Estimate>& base,
                  const std::optional<Estimate>& now) {
    if (!base) return;
    changes_.push_back(
        {.name = name, .better = FigureChange::Better::kHigher, .base = *base, .now = now});
  }

  const json& base_;
  const json& now_;
  std::vector<FigureChange> changes_;
};

}  // namespace

absl::StatusOr<json> parse_report(std::string_view text) {
  absl::StatusOr<json> report =
      parse_json(text, {.bytes = kMostReportBytes, .depth = kMostReportDepth});
  if (!report.ok()) return report;
  if (field(*report, {"schema"}) != kLoadSchema) {
    return failure("is no report of schema ", kLoadSchema);
  }
  return report;
}

absl::StatusOr<json> read_report(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary | std::ios::ate);
  if (!in) return failure(file.string(), ": cannot be opened");
  const std::streamoff size = in.tellg();
  if (size < 0) return failure(file.string(), ": cannot be read");
  std::string text(std::min<size_t>(static_cast<size_t>(size), kMostReportBytes + 1), '\0');
  in.seekg(0);
  if (!in.read(text.data(), static_cast<std::streamsize>(text.size()))) {
    return failure(file.string(), ": cannot be read");
  }
  absl::StatusOr<json> report = parse_report(text);
  if (!report.ok()) return failure(file.string(), ": ", why(report.status()));
  return report;
}

bool FigureChange::regressed(double limit) const {
  if (few) return false;
  if (!now) return true;
  const double worse = better == Better::kLower ? now->value - base.value : base.value - now->value;
  return worse > std::abs(base.value) * limit && worse > least_difference;
}

bool FigureChange::overlaps() const {
  return now && now->low <= base.high && base.low <= now->high;
}

absl::StatusOr<std::vector<FigureChange>> compare_reports(const json& base, const json& now) {
  if (absl::Status same = check_same_load(base, now); !same.ok()) return same;
  Comparison comparison(base, now);
  if (is_sweep(base)) {
    comparison.add_higher("best rate, requests/s", {"sweep", "best_rate"});
  } else {
    comparison.add_completed();
    comparison.add_higher("requests/s", {"summary", "rates", "requests_per_second"});
    comparison.add_higher("output tokens/s", {"summary", "rates", "output_tokens_per_second"});
    comparison.add_higher("input tokens/s", {"summary", "rates", "input_tokens_per_second"});
    comparison.add_higher("good share", {"summary", "goodput", "share"});
    comparison.add_higher("good requests/s", {"summary", "goodput", "requests_per_second"});
    comparison.add_latency("TTFT", "ttft_ms");
    comparison.add_latency("TPOT", "tpot_ms");
    comparison.add_latency("ITL", "itl_ms");
    comparison.add_latency("E2E", "e2e_ms");
    comparison.add_latency("node's queue", "queue_ms");
  }
  std::vector<FigureChange> changes = comparison.take();
  if (changes.empty()) return failure("the base has no figures");
  return changes;
}

bool write_changes(const std::vector<FigureChange>& changes, double limit, std::ostream& out) {
  bool good = true;
  const auto row = [&out](std::string_view name, std::string_view base, std::string_view now,
                          std::string_view change, std::string_view verdict) {
    out << std::left << std::setw(24) << name << std::right << std::setw(30) << base
        << std::setw(30) << now << std::setw(10) << change << "  " << verdict << '\n';
  };
  const auto shown = [](const Estimate& estimate) {
    std::string text = short_number(estimate.value);
    if (estimate.high > estimate.low) text += " (" + interval_text(estimate) + ")";
    return text;
  };
  row("", "base", "now", "change", "");
  for (const FigureChange& change : changes) {
    const bool regressed = change.regressed(limit);
    good = good && !regressed;
    std::string verdict = regressed ? "REGRESSED" : "";
    if (change.few) verdict = "few values, not held to the limit";
    if (regressed && change.overlaps()) verdict += ", though the intervals overlap";
    std::string grown = "-";
    if (change.now && change.base.value != 0) {
      const double percent_grown = (change.now->value / change.base.value - 1) * 100;
      grown = (percent_grown >= 0 ? "+" : "-") + short_number(std::abs(percent_grown)) + "%";
    }
    row(change.name, shown(change.base), change.now ? shown(*change.now) : "none", grown, verdict);
  }
  return good;
}

}  // namespace switchyard
