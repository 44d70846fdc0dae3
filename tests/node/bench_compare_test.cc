#include "node/bench_compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace switchyard {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::HasSubstr;

Json line(const char* kind, int batch, int context, double seconds) {
  return {{"case", kind}, {"batch", batch}, {"context", context}, {"seconds", seconds}};
}

Json report(Json rows) {
  return {{"schema", "switchyard-bench/1"},
          {"model", "configs/some-model"},
          {"backend", "cuda, NVIDIA H200 (sm_90), 139.8 GiB, 139.3 GiB free"},
          {"seed", 1},
          {"weights", "int4"},
          {"head_weights", "int8"},
          {"weight_scales", "round"},
          {"rows", std::move(rows)},
          {"skipped", Json::array()}};
}

Json usual() {
  return report(
      {line("decode", 1, 64, 0.001), line("decode", 8, 64, 0.002), line("prefill", 1, 512, 0.010)});
}

TEST(BenchCompare, FindsTheLinesThatBecameSlower) {
  const Json now = report({line("prefill", 1, 512, 0.0106), line("decode", 8, 64, 0.00209),
                           line("decode", 1, 64, 0.0005), line("decode", 64, 64, 1)});
  const Result<std::vector<BenchChange>> changes = compare_bench_reports(usual(), now);
  ASSERT_TRUE(changes.ok()) << changes.status().message();
  ASSERT_EQ(changes->size(), 3U);
  EXPECT_EQ(changes->at(0).line, "decode, batch 1, context 64");
  EXPECT_EQ(changes->at(0).seconds, 0.0005);
  EXPECT_EQ(changes->at(2).line, "prefill, batch 1, context 512");
  const auto regressed = [&](double limit) {
    std::vector<bool> lines;
    for (const BenchChange& change : *changes) lines.push_back(change.regressed(limit));
    return lines;
  };
  EXPECT_EQ(regressed(0.05), (std::vector{false, false, true}));
  EXPECT_EQ(regressed(0.04), (std::vector{false, true, true}));
  EXPECT_EQ(regressed(0.07), (std::vector{false, false, false}));
}

TEST(BenchCompare, PrintsWhatRegressed) {
  const std::vector<BenchChange> changes = {
      {.line = "decode, batch 1, context 64", .base_seconds = 0.001, .seconds = 0.0011},
      {.line = "decode, batch 8, context 64", .base_seconds = 0.001, .seconds = 0.0010},
      {.line = "decode, batch 64, context 64", .base_seconds = 0.001, .seconds = {}}};
  testing::internal::CaptureStdout();
  EXPECT_FALSE(print_changes(changes, 0.05));
  const std::string printed = testing::internal::GetCapturedStdout();
  EXPECT_THAT(printed, HasSubstr("+10.0%  REGRESSED\n"));
  EXPECT_THAT(printed, HasSubstr("+0.0%\n"));
  EXPECT_THAT(printed, HasSubstr("no room"));
  EXPECT_TRUE(print_changes({changes[1]}, 0.05));
  EXPECT_FALSE(print_changes({changes[2]}, 0.05)) << "no room";
}

TEST(BenchCompare, LeavesOutWhatWasNotAskedForAndCountsWhatHadNoRoom) {
  Json now = report({line("decode", 1, 64, 0.001)});
  EXPECT_EQ(compare_bench_reports(usual(), now)->size(), 1U);
  now["skipped"].push_back(line("decode", 8, 64, 0));
  const Result<std::vector<BenchChange>> changes = compare_bench_reports(usual(), now);
  ASSERT_EQ(changes->size(), 2U);
  EXPECT_FALSE(changes->at(1).seconds);
  EXPECT_TRUE(changes->at(1).regressed(1e9));
}

TEST(BenchCompare, RefusesReportsOfSomethingElse) {
  for (const char* name :
       {"model", "backend", "seed", "weights", "head_weights", "weight_scales"}) {
    Json now = usual();
    now[name] = "another";
    EXPECT_EQ(compare_bench_reports(usual(), now).status().code(), Code::kInvalidArgument) << name;
  }
  Json now = usual();
  now["model"] = "/elsewhere/some-model/";
  now["backend"] = "cuda, NVIDIA H200 (sm_90), 139.8 GiB, 12.0 GiB free";
  EXPECT_TRUE(compare_bench_reports(usual(), now).ok());
}

TEST(BenchCompare, RefusesABaseThatTellsNothing) {
  const Json now = usual();
  EXPECT_THAT(compare_bench_reports(report(Json::array()), now).status().message(),
              HasSubstr("no line that was measured here"));
  EXPECT_THAT(compare_bench_reports(report({line("decode", 1, 64, 0)}), now).status().message(),
              HasSubstr("no time for decode, batch 1, context 64"));
  EXPECT_FALSE(compare_bench_reports(report({"decode", 3, nullptr}), now).ok());
}

TEST(BenchCompare, ReadsNothingButReports) {
  const std::string file = testing::TempDir() + "bench_compare_test.json";
  EXPECT_EQ(read_bench_report(file + ".absent").status().code(), Code::kNotFound);
  for (const char* text : {"", "[]", "{", R"({"schema": "switchyard-bench/2", "rows": []})",
                           R"({"schema": "switchyard-bench/1", "rows": 3})"}) {
    std::ofstream(file) << text;
    const Status status = read_bench_report(file).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << text;
    EXPECT_THAT(status.message(), HasSubstr(file));
  }
  std::ofstream(file) << usual();
  const Result<Json> read = read_bench_report(file);
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(*read, usual());
}

}  // namespace
}  // namespace switchyard
