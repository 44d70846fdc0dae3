#include "node/bench_compare.h"

#include <algorithm>
#include <cstdio>
#include <fstream>

namespace switchyard {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kSchema[] = "switchyard-bench/1";

// Null where there is none.
const Json& field(const Json& object, const char* name) {
  static const Json null;
  if (!object.is_object()) return null;
  const auto found = object.find(name);
  return found == object.end() ? null : *found;
}

std::string text_of(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string line_of(const Json& row) {
  return text_of(field(row, "case")) + ", batch " + text_of(field(row, "batch")) + ", context " +
         text_of(field(row, "context"));
}

const Json* find_line(const Json& rows, const std::string& line) {
  const auto found = std::ranges::find(rows, line, line_of);
  return found == rows.end() ? nullptr : &*found;
}

// 0 where there is none: no time that was measured.
double seconds_of(const Json& row) {
  const Json& seconds = field(row, "seconds");
  return seconds.is_number() ? seconds.get<double>() : 0;
}

// What a report is of, as (what, which). A model is known by its folder's name, a device by what
// stands before how much of its memory is free.
std::vector<std::pair<std::string, std::string>> subject_of(const Json& report) {
  const std::string backend = text_of(field(report, "backend"));
  const std::filesystem::path model = text_of(field(report, "model"));
  std::vector<std::pair<std::string, std::string>> subject = {
      {"model", (model.has_filename() ? model : model.parent_path()).filename()},
      {"device", backend.substr(0, backend.find(" ("))}};
  for (const char* name : {"seed", "weights", "head_weights", "weight_scales"}) {
    subject.emplace_back(name, text_of(field(report, name)));
  }
  return subject;
}

}  // namespace

Result<Json> read_bench_report(const std::filesystem::path& file) {
  std::ifstream stream(file);
  if (!stream) return Status(Code::kNotFound, file.string(), ": cannot be opened");
  Json report = Json::parse(stream, nullptr, false);
  if (field(report, "schema") != kSchema || !field(report, "rows").is_array()) {
    return Status(Code::kInvalidArgument, file.string(), ": is no report of schema ", kSchema);
  }
  return report;
}

Result<std::vector<BenchChange>> compare_bench_reports(const Json& base, const Json& now) {
  const auto base_subject = subject_of(base);
  const auto now_subject = subject_of(now);
  for (size_t i = 0; i < base_subject.size(); ++i) {
    const auto& [what, which] = now_subject[i];
    if (base_subject[i].second == which) continue;
    return Status(Code::kInvalidArgument, "the base has ", what, " '", base_subject[i].second,
                  "', this run '", which, "'");
  }
  std::vector<BenchChange> changes;
  for (const Json& row : field(base, "rows")) {
    BenchChange change{.line = line_of(row), .base_seconds = seconds_of(row), .seconds = {}};
    if (change.base_seconds <= 0) {
      return Status(Code::kInvalidArgument, "the base has no time for ", change.line);
    }
    if (const Json* measured = find_line(field(now, "rows"), change.line)) {
      change.seconds = seconds_of(*measured);
    } else if (find_line(field(now, "skipped"), change.line) == nullptr) {
      continue;
    }
    changes.push_back(std::move(change));
  }
  if (changes.empty()) {
    return Status(Code::kInvalidArgument, "the base has no line that was measured here");
  }
  return changes;
}

bool print_changes(const std::vector<BenchChange>& changes, double limit) {
  bool good = true;
  for (const BenchChange& change : changes) {
    const bool regressed = change.regressed(limit);
    good = good && !regressed;
    const char* verdict = regressed ? "  REGRESSED" : "";
    if (change.seconds) {
      std::printf("%-40s %10.4f ms, was %10.4f: %+6.1f%%%s\n", change.line.c_str(),
                  *change.seconds * 1e3, change.base_seconds * 1e3,
                  (*change.seconds / change.base_seconds - 1) * 100, verdict);
    } else {
      std::printf("%-40s %10s   , was %10.4f%s\n", change.line.c_str(), "no room",
                  change.base_seconds * 1e3, verdict);
    }
  }
  return good;
}

}  // namespace switchyard
