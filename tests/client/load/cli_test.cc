// The flags of a load's report and of `load compare`: what they accept, write and return.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "client/cli/load_compare.h"
#include "client/cli/load_report.h"
#include "client/load/failure.h"
#include "tests/client/load/http_server.h"
#include "tests/client/load/synthetic_run.h"

namespace switchyard::test {
namespace {

using testing::HasSubstr;

struct Folder {
  Folder() : path(std::filesystem::path(testing::TempDir()) / "load_cli_test") {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  [[nodiscard]] std::string file(const char* name) const { return path / name; }
  [[nodiscard]] std::string text(const char* name) const {
    std::ifstream in(path / name);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::filesystem::path path;
};

struct Streams {
  std::ostringstream answers;
  std::ostringstream messages;
  Output output{answers, messages};
};

LoadRun run_of(const Delays& delays) {
  RunBuilder builder;
  builder.add(1000, 0, kMs, delays);
  return builder.measured_until(kSecond);
}

absl::StatusOr<LoadReporter> reporter_of(std::vector<std::string> arguments) {
  CLI::App app;
  LoadReportFlags flags;
  flags.add_to(app);
  std::ranges::reverse(arguments);
  app.parse(arguments);
  return LoadReporter::make(flags, {});
}

TEST(LoadReportFlags, WriteEveryFileAndTheTable) {
  const Folder folder;
  auto reporter = reporter_of({"--slo", "ttft=500ms", "--json", folder.file("a.json"), "--html",
                               folder.file("a.html"), "--csv", folder.file("a.csv"),
                               "--requests-file", folder.file("a.jsonl")});
  ASSERT_TRUE(reporter.ok()) << reporter.status();
  reporter->begin();
  Streams streams;
  EXPECT_EQ(reporter->report(run_of({}), streams.output), 0);
  EXPECT_THAT(streams.answers.str(), HasSubstr("100.0 % good"));
  EXPECT_THAT(folder.text("a.json"), HasSubstr("switchyard-load/1"));
  EXPECT_THAT(folder.text("a.html"), HasSubstr("</html>"));
  EXPECT_THAT(folder.text("a.csv"), HasSubstr("goodput,share,1,,"));
  EXPECT_EQ(std::ranges::count(folder.text("a.jsonl"), '\n'), 1000);
}

TEST(LoadReportFlags, SayWhatIsWrongWithThemBeforeTheLoad) {
  EXPECT_THAT(why(reporter_of({"--slo", "ttft=soon"}).status()), HasSubstr("--slo: objective"));
  EXPECT_THAT(why(reporter_of({"--metrics", "https://x"}).status()), HasSubstr("--metrics: "));
  EXPECT_THAT(why(reporter_of({"--gpu-metrics", "h:0"}).status()), HasSubstr("--gpu-metrics: "));
  EXPECT_THROW((void)reporter_of({"--good", "101"}), CLI::ParseError);
}

TEST(LoadReportFlags, ReadTheNodesMetricsAroundTheLoad) {
  std::atomic<int> tokens = 0;
  const HttpServer server([&](const HttpServer::Connection& connection, const std::string&) {
    tokens += 100;
    connection.send(
        HttpServer::page("switchyard_generation_tokens_total " + std::to_string(tokens) + "\n"));
  });
  const Folder folder;
  auto reporter =
      reporter_of({"--metrics", "127.0.0.1:" + server.port(), "--json", folder.file("a.json")});
  ASSERT_TRUE(reporter.ok());
  reporter->begin();
  LoadRun run = run_of({});
  run.facts.start_unix_ns =
      std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count();
  Streams streams;
  EXPECT_EQ(reporter->report(run, streams.output), 0);
  const auto json = nlohmann::json::parse(folder.text("a.json"));
  EXPECT_EQ(json["servers"][0]["target"], "127.0.0.1:" + server.port());
  EXPECT_EQ(json["servers"][0]["generation_tokens"], 100);
}

TEST(LoadReportFlags, ReadTheGpusAroundTheLoad) {
  std::atomic<int> pages = 0;
  std::string asked;
  const HttpServer server(
      [&](const HttpServer::Connection& connection, const std::string& request) {
        asked = request;
        ++pages;
        connection.send(
            HttpServer::page("DCGM_FI_DEV_POWER_USAGE{gpu=\"0\",UUID=\"GPU-a\"} 250.000000\n"));
      });
  const Folder folder;
  auto reporter =
      reporter_of({"--gpu-metrics", "127.0.0.1:" + server.port(), "--json", folder.file("a.json")});
  ASSERT_TRUE(reporter.ok());
  LoadRun run = run_of({});
  run.facts.start_unix_ns =
      std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count();
  reporter->begin();
  // The run's second is the time between the first page and the last.
  while (pages < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  Streams streams;
  EXPECT_EQ(reporter->report(run, streams.output), 0);
  EXPECT_THAT(asked, HasSubstr("GET /metrics HTTP/1.1"));
  const auto json = nlohmann::json::parse(folder.text("a.json"));
  EXPECT_EQ(json["gpus"]["pages"][0]["failures"], 0);
  EXPECT_EQ(json["gpus"]["devices"][0]["power_watts"]["mean"], 250);
  EXPECT_TRUE(json["gpus"]["devices"][0]["utilisation"].is_null());
  EXPECT_EQ(json["gpus"]["energy"]["gpus"], 1);
  EXPECT_THAT(streams.answers.str(), HasSubstr("kJ by 1 GPU, "));
}

TEST(LoadReportFlags, ReportALateClientWithAnExitCodeOfItsOwn) {
  const Folder folder;
  auto reporter = reporter_of({"--json", folder.file("a.json")});
  LoadRun run = run_of({});
  run.facts.lateness.late_sends = 500;
  Streams streams;
  EXPECT_EQ(reporter->report(run, streams.output), kExitClientLate);
  EXPECT_THAT(folder.text("a.json"), HasSubstr("\"refused\": \"no figures"));
}

TEST(LoadReportFlags, ReportThatAFileCouldNotBeWritten) {
  auto reporter = reporter_of({"--html", "/nowhere/a.html"});
  Streams streams;
  EXPECT_EQ(reporter->report(run_of({}), streams.output), 1);
  EXPECT_EQ(streams.messages.str(), "error: /nowhere/a.html: cannot be written\n");
}

TEST(LoadReportFlags, ReportASweepByItsBestRate) {
  const Folder folder;
  auto reporter = reporter_of({"--slo", "ttft=50", "--json", folder.file("a.json")});
  SweepResult sweep;
  sweep.points.push_back({40, run_of({.first_ns = 90 * kMs}), {}});
  sweep.points.push_back({10, run_of({}), {}});
  sweep.points.push_back({20, run_of({.first_ns = 30 * kMs}), {}});
  for (SweepPoint& point : sweep.points)
    point.verdict = sweep_verdict(point.run, reporter->objectives());
  sweep.best_rate = 20;
  Streams streams;
  EXPECT_EQ(reporter->report(sweep, streams.output), 0);
  EXPECT_THAT(streams.answers.str(),
              HasSubstr("the highest rate that met the objectives: 20.0 requests/s"));
  const auto json = nlohmann::json::parse(folder.text("a.json"));
  EXPECT_EQ(json["sweep"]["points"][0]["rate"], 10);
  EXPECT_EQ(json["sweep"]["points"][2]["met"], false);
  EXPECT_EQ(json["summary"]["latencies"]["ttft_ms"]["p50"]["value"], 30);
}

int compare(std::vector<std::string> arguments, Streams& streams) {
  CLI::App app;
  CLI::App* load = app.add_subcommand("load");
  LoadCompareFlags flags;
  const CLI::App* command = add_compare_to(*load, flags);
  arguments.insert(arguments.begin(), {"load", "compare"});
  std::ranges::reverse(arguments);
  app.parse(arguments);
  EXPECT_TRUE(command->parsed());
  return compare_loads(flags, streams.output);
}

TEST(LoadCompare, ReturnsZeroOneOrTwo) {
  const Folder folder;
  const auto write = [&](const char* name, const Delays& delays) {
    auto reporter = reporter_of({"--json", folder.file(name)});
    Streams streams;
    ASSERT_EQ(reporter->report(run_of(delays), streams.output), 0);
  };
  write("a.json", {.first_ns = 100 * kMs});
  write("b.json", {.first_ns = 110 * kMs});
  Streams streams;
  EXPECT_EQ(
      compare({folder.file("a.json"), folder.file("b.json"), "--max-regression", "20%"}, streams),
      0);
  EXPECT_EQ(compare({folder.file("a.json"), folder.file("b.json")}, streams), 1);
  EXPECT_EQ(
      compare({folder.file("b.json"), folder.file("a.json"), "--max-regression", "0"}, streams), 0);
  EXPECT_THAT(streams.answers.str(), HasSubstr("REGRESSED"));
  EXPECT_EQ(streams.messages.str(), "");
  EXPECT_EQ(compare({folder.file("a.json"), folder.file("none.json")}, streams), 2);
  EXPECT_THAT(streams.messages.str(), HasSubstr("none.json: cannot be opened"));
  EXPECT_THROW(compare({"only-one"}, streams), CLI::ParseError);
  EXPECT_THROW(compare({"a", "b", "--max-regression", "-3"}, streams), CLI::ParseError);
}

}  // namespace
}  // namespace switchyard::test
