// Reports as people and programs read them: numbers, the table, lines, axes, the line of progress.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "client/load/chart_axis.h"
#include "client/load/environment.h"
#include "client/load/figure_text.h"
#include "client/load/progress.h"
#include "client/load/report_html.h"
#include "client/load/report_json.h"
#include "client/load/report_lines.h"
#include "client/load/report_table.h"
#include "client/load/svg_chart.h"
#include "tests/client/load/synthetic_run.h"

namespace switchyard::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

TEST(FigureText, ShowsAsManyDigitsAsAPersonReads) {
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(0.0421), "0.042");
  EXPECT_EQ(short_number(1.234), "1.23");
  EXPECT_EQ(short_number(12.34), "12.3");
  EXPECT_EQ(short_number(1234.5), "1234");
  EXPECT_EQ(short_number(99.96), "100");
  EXPECT_EQ(with_thousands(0), "0");
  EXPECT_EQ(with_thousands(999), "999");
  EXPECT_EQ(with_thousands(1204331), "1,204,331");
  EXPECT_EQ(with_thousands(-1000), "-1,000");
  EXPECT_EQ(percent(0.0312), "3.12 %");
  EXPECT_EQ(percent(0.987), "98.7 %");
}

TEST(FigureText, LeavesNoControlsAndNoBrokenCharacters) {
  EXPECT_EQ(one_line("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x99\x82"),
            "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x99\x82");
  const std::string mark = "\xEF\xBF\xBD";
  EXPECT_EQ(one_line("a\nb\x1b[31m\x7f"), "a" + mark + "b" + mark + "[31m" + mark);
  EXPECT_EQ(one_line("\xc2\x9b"), mark);  // C1
  EXPECT_EQ(one_line("\xff"), mark);
  EXPECT_EQ(one_line("x\xc3"), "x" + mark);                 // cut short
  EXPECT_EQ(one_line("\xc0\xaf"), mark + mark);             // overlong
  EXPECT_EQ(one_line("\xed\xa0\x80"), mark + mark + mark);  // half of a pair
  EXPECT_EQ(one_line("\xf4\x90\x80\x80"), mark + mark + mark + mark);
}

Report small_report() {
  RunBuilder builder;
  builder.add(20, 0, 100 * kMs, {});
  RequestRecord bad = failed(100 * kMs, 8, "QUEUE_FULL");
  bad.message = "full\nof \x1b[31mit";
  bad.retry_hint = true;
  builder.add(bad);
  ReportContext context;
  (void)add_objective("ttft=500", context.objectives);
  return make_report(builder.measured_until(2 * kSecond), std::move(context));
}

TEST(Table, ShowsFiguresIntervalsErrorsAndWarnings) {
  std::ostringstream out;
  write_table(small_report(), out);
  const std::string table = out.str();
  EXPECT_THAT(
      table,
      HasSubstr("21 asked, 20 completed, 1 failed (4.76 %); refused 1, 1 of them with RetryInfo"));
  EXPECT_THAT(table, HasSubstr("25.0 % of them cached"));
  EXPECT_THAT(table, HasSubstr("95.2 % good"));
  EXPECT_THAT(table, HasSubstr("TTFT                   20       20.0       20.0"));
  EXPECT_THAT(table, HasSubstr("20.0-20.0"));
  EXPECT_THAT(table, HasSubstr("1 x RESOURCE_EXHAUSTED, QUEUE_FULL, 1 with RetryInfo: full"));
  EXPECT_THAT(table, HasSubstr("warning: 1 of 21 requests failed"));
  EXPECT_THAT(table, Not(HasSubstr("\x1b")));
}

TEST(Table, OfALateClientHasNoFigures) {
  Report report = small_report();
  report.refusal = "no figures: late";
  std::ostringstream out;
  write_table(report, out);
  EXPECT_THAT(out.str(), HasSubstr("error: no figures: late"));
  EXPECT_THAT(out.str(), Not(HasSubstr("TTFT")));
}

TEST(Json, HasTheFiguresUnderTheirDocumentedNames) {
  const auto json = report_json(small_report());
  EXPECT_EQ(json["schema"], "switchyard-load/1");
  EXPECT_EQ(json["seed"], 7);
  EXPECT_EQ(json["workload"]["seed"], 7);
  EXPECT_TRUE(json["refused"].is_null());
  EXPECT_EQ(json["summary"]["latencies"]["ttft_ms"]["p99"]["value"], 20);
  EXPECT_EQ(json["summary"]["latencies"]["itl_ms"]["count"], 180);
  EXPECT_EQ(json["summary"]["outcomes"]["refused_with_retry_info"], 1);
  EXPECT_EQ(json["summary"]["errors"][0]["code"], "RESOURCE_EXHAUSTED");
  EXPECT_EQ(json["summary"]["tokens"]["cached_share"], 0.25);
  EXPECT_EQ(json["objectives"]["all"]["ttft_ms"], 500);
  EXPECT_EQ(json["environment"]["start_unix_seconds"], 1'790'000'000.0);
  EXPECT_EQ(json["timeline"]["windows"].size(), 3);
}

TEST(Json, OfALateClientHasOnlyItsLateness) {
  Report report = small_report();
  report.refusal = "no figures: late";
  const auto json = report_json(report);
  EXPECT_EQ(json["refused"], "no figures: late");
  EXPECT_TRUE(json.contains("lateness"));
  EXPECT_FALSE(json.contains("summary"));
  EXPECT_FALSE(json.contains("timeline"));
}

TEST(Json, IsWrittenWhateverBytesOthersSaid) {
  Report report = small_report();
  report.figures.errors[0].example = "\xff\xfe";
  report.facts.spec_json = "{broken";
  std::ostringstream out;
  write_json(report_json(report), out);
  const auto again = nlohmann::json::parse(out.str(), nullptr, false);
  ASSERT_FALSE(again.is_discarded());
  EXPECT_EQ(again["workload"], "{broken");
  EXPECT_EQ(again["summary"]["errors"][0]["example"], "\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(RequestLines, HaveALineForEachRequest) {
  std::vector<RequestRecord> records = {answered(kSecond, {.messages = 2}), failed(0, 14)};
  records[0].number = 3;
  std::ostringstream out;
  write_request_lines(records, out);
  std::istringstream in(out.str());
  std::string line;
  ASSERT_TRUE(std::getline(in, line));
  const auto good = nlohmann::json::parse(line);
  EXPECT_EQ(good["number"], 3);
  EXPECT_EQ(good["ttft_ms"], 20);
  EXPECT_EQ(good["tpot_ms"], 10);
  EXPECT_EQ(good["arrivals"][1][0], 1.03);
  EXPECT_EQ(good["arrivals"][1][1], 1);
  ASSERT_TRUE(std::getline(in, line));
  const auto bad = nlohmann::json::parse(line);
  EXPECT_EQ(bad["code"], "UNAVAILABLE");
  EXPECT_TRUE(bad["ttft_ms"].is_null());
  EXPECT_TRUE(bad["prompt_tokens"].is_null());
  EXPECT_FALSE(std::getline(in, line));
}

TEST(Csv, HasOneNumberInALineAndNoFormulas) {
  Report report = small_report();
  report.figures.classes[0].name = "=1+1,\"x\"";
  std::ostringstream out;
  write_csv(report, out);
  EXPECT_THAT(out.str(), StartsWith("scope,figure,statistic,value,low,high\n"));
  EXPECT_THAT(out.str(), HasSubstr("\nall,ttft_ms,p99,20,20,20\n"));
  EXPECT_THAT(out.str(), HasSubstr("\nall,requests,failed,1,,\n"));
  EXPECT_THAT(out.str(), HasSubstr("\n\"class =1+1,\"\"x\"\"\",ttft_ms,mean,20,"));
}

TEST(Html, EscapesWhatOthersSaidAndLoadsNothing) {
  Report report = small_report();
  report.figures.errors[0].example = "<img src=x onerror='alert(1)'>\"&";
  report.facts.model = "</title><script>x</script>";
  const std::string page = report_html(report);
  EXPECT_THAT(page, HasSubstr("&lt;img src=x onerror=&#39;alert(1)&#39;&gt;&quot;&amp;"));
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  EXPECT_THAT(page, Not(HasSubstr("<script>x")));
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
}

std::vector<std::string> texts(const AxisMap& axis, int count) {
  std::vector<std::string> all;
  for (const Tick& tick : axis.ticks(count)) all.push_back(tick.text);
  return all;
}

TEST(ChartAxis, HasRoundNumbers) {
  const AxisMap linear(AxisScale::kLinear, 3, 47);
  EXPECT_THAT(texts(linear, 5), ElementsAre("0", "10", "20", "30", "40", "50"));
  EXPECT_DOUBLE_EQ(linear.place(25), 0.5);
  EXPECT_DOUBLE_EQ(linear.place(1000), 1);
  const AxisMap span(AxisScale::kSpan, 0, 122);
  EXPECT_THAT(texts(span, 6), ElementsAre("0", "50", "100"));
  EXPECT_DOUBLE_EQ(span.place(61), 0.5);
  const AxisMap log(AxisScale::kLog, 12, 900);
  EXPECT_THAT(texts(log, 6), ElementsAre("10", "20", "50", "100", "200", "500", "1000"));
  EXPECT_NEAR(log.place(100), 0.5, 1e-9);
  EXPECT_DOUBLE_EQ(log.place(0), 0);
  const AxisMap nines(AxisScale::kNines, 0, 1);
  EXPECT_THAT(texts(nines, 6), ElementsAre("p0", "p50", "p90", "p99", "p99.9", "p99.99"));
  EXPECT_NEAR(nines.place(0.9), 0.25, 1e-9);
  EXPECT_DOUBLE_EQ(nines.place(1), 1);
}

TEST(ChartAxis, TakesAnyRange) {
  for (const AxisScale scale : {AxisScale::kLinear, AxisScale::kSpan, AxisScale::kLog}) {
    for (const auto& [least, most] : std::vector<std::pair<double, double>>{
             {0, 0}, {-5, 5}, {1e-9, 1e9}, {3, 3}, {1e12, 1e12}, {0, 1e-6}}) {
      const AxisMap axis(scale, least, most);
      EXPECT_LT(axis.ticks(5).size(), 60u);
      EXPECT_GE(axis.place(most), axis.place(least));
      EXPECT_LE(axis.place(most), 1);
    }
  }
}

TEST(Chart, BreaksItsLineWhereThereIsNoValue) {
  Chart chart;
  chart.title = "a < b";
  ChartLine& line = chart.lines.emplace_back();
  line.name = "p50";
  line.points = {{0, 1}, {1, 2}, {2, NAN}, {3, 1}};
  const std::string drawn = draw(chart);
  EXPECT_THAT(drawn, HasSubstr("a &lt; b"));
  const std::string path = drawn.substr(drawn.find(" d=\""));
  EXPECT_EQ(std::ranges::count(path.substr(0, path.find("/>")), 'M'), 2);
  EXPECT_THAT(draw(Chart{}), HasSubstr("nothing to show"));
}

TEST(LiveLatency, IsAtMostAThirtySecondTooHigh) {
  LiveLatency latency;
  EXPECT_EQ(latency.milliseconds(0.5), -1);
  for (int i = 1; i <= 1000; ++i) latency.add(i * kMs);
  for (const double share : {0.01, 0.5, 0.9, 0.99, 1.0}) {
    EXPECT_GE(latency.milliseconds(share), share * 1000);
    EXPECT_LE(latency.milliseconds(share), share * 1000 * 33 / 32 + 1e-9);
  }
}

TEST(LiveLatency, TakesAnyTime) {
  LiveLatency latency;
  latency.add(-5);
  latency.add(0);
  EXPECT_LT(latency.milliseconds(1), 0.011);
  latency.add(INT64_MAX / 64);
  EXPECT_GT(latency.milliseconds(1), 40 * 60 * 1e3);
}

LoadProgress progress_at(int64_t at_ns, int64_t tokens) {
  LoadProgress progress;
  progress.now = {
      .at_ns = at_ns, .sent = 1240, .ended = 1228, .answer_tokens = tokens, .in_flight = 12};
  progress.failed = 2;
  progress.duration_ns = 60 * kSecond;
  return progress;
}

TEST(Progress, SaysWhatHasBeenDone) {
  LiveLatency latency;
  latency.add(80 * kMs);
  EXPECT_EQ(progress_text(progress_at(12 * kSecond, 5000),
                          {.at_ns = 10 * kSecond, .answer_tokens = 3000}, latency),
            "12 s of 60 s: 1,240 sent, 12 in flight, 1,228 done, 2 failed, 1000 tokens/s, "
            "TTFT p50 80.6 ms, p99 80.6 ms");
  LoadProgress counted = progress_at(12 * kSecond, 0);
  counted.duration_ns = -1;
  counted.requests = 2000;
  EXPECT_THAT(progress_text(counted, {}, {}), StartsWith("12 s: 1,240 of 2,000 sent, "));
}

TEST(Progress, RewritesItsLineOnATerminal) {
  std::ostringstream out;
  {
    ProgressLine line(out, ProgressLine::Kind::kTerminal);
    line.show(progress_at(kSecond, 100), {});
    line.show(progress_at(kSecond + 100 * kMs, 100), {});  // too soon
    line.show(progress_at(2 * kSecond, 100), {});
  }
  EXPECT_EQ(std::ranges::count(out.str(), '\r'), 2);
  EXPECT_EQ(std::ranges::count(out.str(), '\n'), 1);
  // What was longer is wiped out.
  EXPECT_THAT(
      out.str(),
      HasSubstr("\r2 s of 60 s: 1,240 sent, 12 in flight, 1,228 done, 2 failed, 0 tokens/s"));
}

TEST(Progress, WritesALineEachTenSecondsIntoALog) {
  std::ostringstream out;
  ProgressLine line(out, ProgressLine::Kind::kLog);
  for (int64_t at_ns = 0; at_ns <= 25 * kSecond; at_ns += kSecond / 4) {
    line.show(progress_at(at_ns, 0), {});
  }
  EXPECT_EQ(std::ranges::count(out.str(), '\n'), 2);
  EXPECT_EQ(std::ranges::count(out.str(), '\r'), 0);
  EXPECT_THAT(out.str(), StartsWith("10 s of 60 s"));
}

TEST(Environment, HasTheCommandAsAShellTakesIt) {
  const char* const argv[] = {"switchyard", "load", "--slo", "chat:ttft=5ms", "it's", ""};
  const Environment environment = this_environment(6, argv);
  EXPECT_EQ(environment.command_line, "switchyard load --slo chat:ttft=5ms 'it'\\''s' ''");
  EXPECT_GT(environment.cores, 0);
  EXPECT_THAT(environment.system, StartsWith("Linux "));
}

}  // namespace
}  // namespace switchyard::test
