// Two reports of one load: what counts as worse, what cannot be compared, and what is no report.
#include "client/load/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "client/load/failure.h"
#include "client/load/report_json.h"
#include "tests/client/load/synthetic_run.h"

namespace switchyard::test {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsSupersetOf;
using testing::Not;
using testing::SizeIs;

// Of 1000 requests with these delays.
json report_of(const Delays& delays, const std::string& slo = "") {
  RunBuilder builder;
  builder.add(1000, 0, 10 * kMs, delays);
  ReportContext context;
  EXPECT_TRUE(slo.empty() || add_objective(slo, context.objectives).ok());
  const Report report = make_report(builder.measured_until(10 * kSecond), std::move(context));
  return json::parse(report_json(report).dump());
}

std::vector<FigureChange> changes(const json& base, const json& now) {
  auto all = compare_reports(base, now);
  EXPECT_TRUE(all.ok()) << all.status();
  return all.ok() ? *std::move(all) : std::vector<FigureChange>();
}
std::string refusal(const json& base, const json& now) {
  const auto all = compare_reports(base, now);
  return all.ok() ? "" : why(all.status());
}
std::vector<std::string> regressed(const std::vector<FigureChange>& all, double limit) {
  std::vector<std::string> names;
  for (const FigureChange& change : all) {
    if (change.regressed(limit)) names.push_back(change.name);
  }
  return names;
}

TEST(Compare, FindsNothingWorseInTheSameReport) {
  const json report = report_of({}, "ttft=500");
  const auto all = changes(report, report);
  EXPECT_THAT(regressed(all, 0), SizeIs(0));
  std::ostringstream out;
  EXPECT_TRUE(write_changes(all, 0.05, out));
  EXPECT_THAT(out.str(), HasSubstr("TTFT p99, ms"));
  EXPECT_THAT(out.str(), HasSubstr("good requests/s"));
  EXPECT_THAT(out.str(), Not(HasSubstr("REGRESSED")));
}

TEST(Compare, HoldsLatenciesToTheLimitUpwards) {
  const json base = report_of({.first_ns = 100 * kMs});
  const json slower = report_of({.first_ns = 106 * kMs});
  const auto all = changes(base, slower);
  EXPECT_THAT(regressed(all, 0.05), ElementsAre("TTFT mean, ms", "TTFT p50, ms", "TTFT p90, ms",
                                                "TTFT p95, ms", "TTFT p99, ms"));
  EXPECT_THAT(regressed(all, 0.07), SizeIs(0));
  EXPECT_THAT(regressed(changes(slower, base), 0.05), SizeIs(0));
  std::ostringstream out;
  EXPECT_FALSE(write_changes(all, 0.05, out));
  EXPECT_THAT(out.str(), HasSubstr("+6.00%  REGRESSED"));
  // Of 1000 requests one lies beyond p99.9.
  EXPECT_THAT(out.str(), HasSubstr("few values, not held to the limit"));
}

TEST(Compare, HoldsRatesToTheLimitDownwards) {
  json base = report_of({});
  json slower = base;
  json& rate = slower["summary"]["rates"]["output_tokens_per_second"]["value"];
  rate = rate.get<double>() * 0.94;
  EXPECT_THAT(regressed(changes(base, slower), 0.05), ElementsAre("output tokens/s"));
  EXPECT_THAT(regressed(changes(base, slower), 0.07), SizeIs(0));
  EXPECT_THAT(regressed(changes(slower, base), 0.05), SizeIs(0));
}

TEST(Compare, HoldsTheShareThatCompleted) {
  const json base = report_of({});
  json failing = base;
  failing["summary"]["outcomes"]["error_share"] = 0.1;
  EXPECT_THAT(regressed(changes(base, failing), 0.05), ElementsAre("completed, %"));
  failing["summary"]["outcomes"]["error_share"] = 0.01;
  EXPECT_THAT(regressed(changes(base, failing), 0.05), SizeIs(0));
}

TEST(Compare, CallsLostFiguresWorse) {
  const json base = report_of({});
  json lost = base;
  lost["summary"]["latencies"]["tpot_ms"] = {{"count", 0}};
  EXPECT_THAT(regressed(changes(base, lost), 0.5),
              IsSupersetOf({"TPOT mean, ms", "TPOT p50, ms", "TPOT p99, ms"}));
}

TEST(Compare, LeavesNoiseOfClocksAlone) {
  json base = report_of({});
  json now = base;
  base["summary"]["latencies"]["queue_ms"]["p50"]["value"] = 0.01;
  now["summary"]["latencies"]["queue_ms"]["p50"]["value"] = 0.09;
  EXPECT_THAT(regressed(changes(base, now), 0.05), SizeIs(0));
  now["summary"]["latencies"]["queue_ms"]["p50"]["value"] = 0.12;
  EXPECT_THAT(regressed(changes(base, now), 0.05), ElementsAre("node's queue p50, ms"));
}

TEST(Compare, SaysWhenIntervalsOverlap) {
  json base = report_of({});
  json now = base;
  now["summary"]["latencies"]["ttft_ms"]["p90"] = {{"value", 30}, {"low", 15}, {"high", 45}};
  std::ostringstream out;
  EXPECT_FALSE(write_changes(changes(base, now), 0.05, out));
  EXPECT_THAT(out.str(), HasSubstr("REGRESSED, though the intervals overlap"));
  EXPECT_THAT(out.str(), HasSubstr("30.0 (15.0 to 45.0)"));
}

TEST(Compare, RefusesOtherLoads) {
  const json base = report_of({});
  const auto altered = [&base](const char* path, const json& value) {
    json report = base;
    report[json::json_pointer(path)] = value;
    return report;
  };
  EXPECT_THAT(refusal(base, altered("/workload/rate", 3)),
              HasSubstr("workloads differ, in 'rate'"));
  EXPECT_THAT(refusal(altered("/workload/x", 3), base), HasSubstr("workloads differ, in 'x'"));
  EXPECT_THAT(refusal(base, altered("/seed", 8)),
              HasSubstr("the base has seed '7', the new report '8'"));
  EXPECT_THAT(refusal(base, altered("/run/model", "other")), HasSubstr("model 'lfm2'"));
  EXPECT_THAT(refusal(base, altered("/objectives", 1)), HasSubstr("objectives 'null'"));
  EXPECT_THAT(refusal(base, altered("/refused", "late\x1b[31m")),
              HasSubstr("the new report: late"));
  EXPECT_THAT(refusal(base, altered("/refused", "late\x1b[31m")), Not(HasSubstr("\x1b")));
  EXPECT_THAT(refusal(altered("/summary", nullptr), base), HasSubstr("the base has no summary"));
  EXPECT_THAT(refusal(base, altered("/sweep", json::object())), HasSubstr("one report is a sweep"));
  EXPECT_THAT(refusal(altered("/summary", json::object()), base), HasSubstr("no figures"));
}

TEST(Compare, HoldsSweepsToTheRateThatTheyFound) {
  json base = report_of({});
  base["sweep"] = {{"best_rate", 20}};
  base["workload"] = {{"arrival", {{"rate", 20}}}, {"classes", 1}, {"seed", 4}};
  json now = base;
  now["sweep"]["best_rate"] = 18;
  now["workload"]["arrival"]["rate"] = 18;
  now["workload"]["seed"] = now["seed"] = 5;
  EXPECT_THAT(regressed(changes(base, now), 0.05), ElementsAre("best rate, requests/s"));
  EXPECT_THAT(regressed(changes(base, now), 0.15), SizeIs(0));
  now["workload"]["classes"] = 2;
  EXPECT_THAT(refusal(base, now), HasSubstr("in 'classes'"));
}

TEST(ReadReport, NamesTheFileAndWhatIsWrongWithIt) {
  const std::filesystem::path folder = testing::TempDir();
  const auto complaint = [&](const std::string& text) {
    const std::filesystem::path file = folder / "load_report_to_read.json";
    std::ofstream(file, std::ios::binary) << text;
    const auto report = read_report(file);
    EXPECT_TRUE(report.ok() || why(report.status()).starts_with(file.string()));
    return report.ok() ? "" : why(report.status());
  };
  EXPECT_EQ(complaint(R"({"schema":"switchyard-load/1"})"), "");
  for (const char* text : {"", "{", "\xff\xfe"}) {
    EXPECT_THAT(complaint(text), HasSubstr("not JSON")) << text;
  }
  for (const char* text :
       {"[]", "null", "7", R"({"schema":"switchyard-bench/1"})", R"({"schema":7})"}) {
    EXPECT_THAT(complaint(text), HasSubstr("no report of schema switchyard-load/1")) << text;
  }
  EXPECT_THAT(complaint(std::string(100'000, '[')), HasSubstr("100000 deep, limit 64"));
  EXPECT_THAT(
      complaint(R"({"schema":"switchyard-load/1","x":")" + std::string(100, '[') + "\\\"\"}"), "");
  EXPECT_THAT(why(read_report(folder / "no_such_report").status()), HasSubstr("cannot be opened"));
  EXPECT_THAT(why(read_report(folder).status()), HasSubstr("cannot be"));
}

}  // namespace
}  // namespace switchyard::test
