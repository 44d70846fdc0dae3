// What pages of dcgm-exporter become: readings, figures over the measured span, energy.
#include "client/load/gpu_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "client/load/failure.h"
#include "tests/client/load/synthetic_run.h"

namespace switchyard::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Optional;
using testing::SizeIs;

std::string labels(const std::string& gpu, const std::string& more = "") {
  return "{gpu=\"" + gpu + "\",UUID=\"GPU-" + gpu + "\",pci_bus_id=\"00000000:0" + gpu +
         ":00.0\",device=\"nvidia" + gpu + "\",modelName=\"NVIDIA H100\",Hostname=\"h1\"" + more +
         "} ";
}

absl::Status add(const std::string& text, GpuSeries& series, int64_t unix_ns = 0) {
  const auto page = parse_prometheus_text(text, {});
  EXPECT_TRUE(page.ok());
  return add_page(*page, unix_ns, series);
}

// A run of 10 s, measured from 2 s to 8 s, in which 60 tokens come, ten a second from 2.5 s on.
LoadRun ten_seconds() {
  RunBuilder builder;
  builder.facts().measured_from_ns = 2 * kSecond;
  builder.add(answered(2 * kSecond, {.first_ns = 500 * kMs, .gap_ns = 100 * kMs, .messages = 60}));
  LoadRun run = builder.measured_until(8 * kSecond);
  run.records.front().measured = false;  // ends after the span, which stays as it is
  return run;
}

using Watts = std::function<double(double seconds)>;

// Pages each second from -1.5 s to 11.5 s, those of `missing` left out.
GpuSeries pages_with(const LoadRun& run,
                     const std::vector<Watts>& gpus,
                     const std::vector<double>& missing = {}) {
  GpuSeries series{.target = "h1:9400", .gpus = {}, .samples = {}, .first_failure = ""};
  for (size_t gpu = 0; gpu < gpus.size(); ++gpu) {
    series.gpus.push_back({.index = std::to_string(gpu),
                           .instance = "",
                           .uuid = "GPU-" + std::to_string(gpu),
                           .model = "",
                           .host = "h1",
                           .pod = ""});
  }
  for (double at = -1.5; at < 12; ++at) {
    if (std::ranges::find(missing, at) != missing.end()) continue;
    GpuSample& sample = series.samples.emplace_back();
    sample.unix_ns = run.facts.start_unix_ns + static_cast<int64_t>(at * 1e9);
    for (const Watts& watts : gpus) {
      sample.readings.emplace_back()[GpuGauge::kPower] = watts(at);
    }
  }
  return series;
}

double steady(double) { return 100; }

TEST(GpuSample, TakesFromAPageWhatAReportShows) {
  GpuSeries series;
  const std::string pod = ",container=\"c\",namespace=\"serving\",pod=\"node-0\"";
  ASSERT_TRUE(add("# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).\n"
                  "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n"
                  "DCGM_FI_DEV_GPU_UTIL" +
                      labels("0", pod) +
                      "87\n"
                      "DCGM_FI_DEV_GPU_UTIL" +
                      labels("1") +
                      "0\n"
                      "DCGM_FI_PROF_GR_ENGINE_ACTIVE" +
                      labels("0", pod) +
                      "0.812345\n"
                      "DCGM_FI_PROF_SM_ACTIVE" +
                      labels("0", pod) +
                      "0.7\n"
                      "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE" +
                      labels("0", pod) +
                      "0.25\n"
                      "DCGM_FI_PROF_DRAM_ACTIVE" +
                      labels("0", pod) +
                      "0.5\n"
                      "DCGM_FI_DEV_FB_USED" +
                      labels("0", pod) +
                      "40960\n"
                      "DCGM_FI_DEV_FB_FREE" +
                      labels("0", pod) +
                      "40000\n"
                      "DCGM_FI_DEV_FB_RESERVED" +
                      labels("0", pod) +
                      "600\n"
                      "DCGM_FI_DEV_POWER_USAGE" +
                      labels("0", pod) +
                      "402.125000\n"
                      "DCGM_FI_DEV_GPU_TEMP" +
                      labels("0", pod) +
                      "61\n"
                      "DCGM_FI_DEV_SM_CLOCK" +
                      labels("0", pod) +
                      "1980\n"
                      "DCGM_FI_DEV_XID_ERRORS" +
                      labels("0", ",err_code=\"0\"") +
                      "0\n"
                      "DCGM_FI_DEV_NVSWITCH_TEMPERATURE_CURRENT{nvswitch=\"0\"} 40\n"
                      "DCGM_FI_DEV_GPU_TEMP{cpu=\"0\"} 70\n"
                      "node_load1 3\n",
                  series, 17)
                  .ok());
  ASSERT_THAT(series.gpus, SizeIs(2));
  EXPECT_EQ(series.gpus[0].index, "0");
  EXPECT_EQ(series.gpus[0].uuid, "GPU-0");
  EXPECT_EQ(series.gpus[0].model, "NVIDIA H100");
  EXPECT_EQ(series.gpus[0].host, "h1");
  EXPECT_EQ(series.gpus[0].pod, "serving/node-0");
  ASSERT_THAT(series.samples, SizeIs(1));
  const GpuSample& sample = series.samples[0];
  EXPECT_EQ(sample.unix_ns, 17);
  EXPECT_DOUBLE_EQ(sample.value(0, GpuGauge::kUtilisation), 0.87);
  EXPECT_EQ(sample.value(0, GpuGauge::kEngineActive), 0.812345);
  EXPECT_EQ(sample.value(0, GpuGauge::kSmActive), 0.7);
  EXPECT_EQ(sample.value(0, GpuGauge::kTensorActive), 0.25);
  EXPECT_EQ(sample.value(0, GpuGauge::kDramActive), 0.5);
  EXPECT_EQ(sample.value(0, GpuGauge::kMemoryUsed), 40960);
  EXPECT_EQ(sample.value(0, GpuGauge::kMemoryFree), 40000);
  EXPECT_EQ(sample.value(0, GpuGauge::kMemoryReserved), 600);
  EXPECT_EQ(sample.value(0, GpuGauge::kPower), 402.125);
  EXPECT_EQ(sample.value(0, GpuGauge::kTemperature), 61);
  EXPECT_EQ(sample.value(0, GpuGauge::kSmClock), 1980);
  EXPECT_EQ(sample.value(0, GpuGauge::kXid), 0);
  EXPECT_EQ(sample.value(1, GpuGauge::kUtilisation), 0);
  EXPECT_EQ(sample.value(1, GpuGauge::kPower), -1);  // not on the page: not 0
}

TEST(GpuSample, TakesNoValueThatDcgmLeftBlank) {
  // Blank, not found, not supported and not permitted, of 64-bit, 32-bit and floating fields.
  for (const char* blank :
       {"9223372036854775792", "9223372036854775794", "9.223372036854776e+18", "2147483632",
        "2147483634", "140737488355328.000000", "140737488355330.000000", "NaN", "-1", "+Inf"}) {
    GpuSeries series;
    ASSERT_TRUE(add("DCGM_FI_DEV_POWER_USAGE" + labels("0") + blank + "\nDCGM_FI_DEV_GPU_TEMP" +
                        labels("0") + "50\n",
                    series)
                    .ok());
    EXPECT_EQ(series.samples[0].value(0, GpuGauge::kPower), -1) << blank;
    EXPECT_EQ(series.samples[0].value(0, GpuGauge::kTemperature), 50);
  }
}

TEST(GpuSample, KnowsAGpuAgainByItsUuidWhateverItsNumber) {
  GpuSeries series;
  ASSERT_TRUE(add("DCGM_FI_DEV_GPU_TEMP{gpu=\"0\",UUID=\"GPU-a\"} 50\n", series).ok());
  ASSERT_TRUE(add("DCGM_FI_DEV_GPU_TEMP{gpu=\"0\",UUID=\"GPU-b\"} 60\n"
                  "DCGM_FI_DEV_GPU_TEMP{gpu=\"1\",UUID=\"GPU-a\"} 51\n",
                  series)
                  .ok());
  ASSERT_THAT(series.gpus, SizeIs(2));
  EXPECT_EQ(series.samples[1].value(0, GpuGauge::kTemperature), 51);
  EXPECT_EQ(series.samples[1].value(1, GpuGauge::kTemperature), 60);
  EXPECT_EQ(series.samples[0].value(1, GpuGauge::kTemperature), -1);
}

TEST(GpuSample, CountsInstancesAsGpusAndPodsOfOneGpuAsOne) {
  GpuSeries series;
  ASSERT_TRUE(
      add("DCGM_FI_DEV_FB_USED" + labels("0", ",GPU_I_PROFILE=\"2g.20gb\",GPU_I_ID=\"3\"") +
              "10\nDCGM_FI_DEV_FB_USED" + labels("0", ",GPU_I_PROFILE=\"2g.20gb\",GPU_I_ID=\"5\"") +
              "20\nDCGM_FI_DEV_FB_USED" + labels("1", ",pod=\"a\",namespace=\"n\"") +
              "30\nDCGM_FI_DEV_FB_USED" + labels("1", ",pod=\"b\",namespace=\"n\"") + "30\n",
          series)
          .ok());
  ASSERT_THAT(series.gpus, SizeIs(3));
  EXPECT_EQ(series.gpus[1].instance, "5");
  EXPECT_EQ(series.samples[0].value(1, GpuGauge::kMemoryUsed), 20);
  EXPECT_EQ(series.samples[0].value(2, GpuGauge::kMemoryUsed), 30);
}

TEST(GpuSample, RefusesAPageWithoutGpusAndOneWithTooMany) {
  GpuSeries series;
  EXPECT_THAT(why(add("switchyard_requests_running 1\n", series)), HasSubstr("no series of a GPU"));
  std::string many;
  for (size_t i = 0; i <= kMostGpusOfAPage; ++i) {
    many += "DCGM_FI_DEV_GPU_TEMP{gpu=\"" + std::to_string(i) + "\"} 1\n";
  }
  EXPECT_THAT(why(add(many, series)), HasSubstr("more than 1024 GPUs"));
  EXPECT_THAT(series.samples, IsEmpty());
}

TEST(GpuView, IsOfTheLinesBetweenReadingsInTheMeasuredSpan) {
  const LoadRun run = ten_seconds();
  // 10 W more each second; the whole span's mean is that of its middle, the peak that of its end.
  const GpuViews views =
      gpu_views({pages_with(run, {[](double at) { return 100 + 10 * at; }})}, run);
  EXPECT_DOUBLE_EQ(views.from_seconds, 2);
  EXPECT_DOUBLE_EQ(views.to_seconds, 8);
  ASSERT_THAT(views.gpus, SizeIs(1));
  const GpuView& gpu = views.gpus[0];
  EXPECT_EQ(gpu.title, "GPU 0");
  EXPECT_DOUBLE_EQ(gpu.from_seconds, 2);
  EXPECT_DOUBLE_EQ(gpu.to_seconds, 8);
  EXPECT_DOUBLE_EQ(gpu[GpuGauge::kPower].mean, 150);
  EXPECT_DOUBLE_EQ(gpu[GpuGauge::kPower].peak, 180);
  EXPECT_DOUBLE_EQ(gpu.joules, 900);
  EXPECT_EQ(gpu[GpuGauge::kUtilisation].mean, -1);
  EXPECT_EQ(gpu[GpuGauge::kUtilisation].peak, -1);
  EXPECT_EQ(gpu.memory_total_mib, -1);
  EXPECT_EQ(gpu.xid_errors, std::nullopt);
  EXPECT_TRUE(views.has(GpuGauge::kPower));
  EXPECT_FALSE(views.has(GpuGauge::kTemperature));
  EXPECT_EQ(views.pages[0].pages, 6);
  EXPECT_EQ(views.pages[0].renewed, 6);
  EXPECT_DOUBLE_EQ(views.pages[0].longest_gap_seconds, 1);
}

TEST(GpuView, DrawsItsLinesAcrossPagesThatAreMissing) {
  const LoadRun run = ten_seconds();
  const auto rising = [](double at) { return 100 + 10 * at; };
  GpuSeries series = pages_with(run, {rising}, {3.5, 4.5, 5.5});
  series.samples[4].readings[0][GpuGauge::kPower] = -1;  // at 2.5 s: a page that did not know it
  const GpuViews views = gpu_views({series}, run);
  EXPECT_DOUBLE_EQ(views.gpus[0].joules, 900);
  EXPECT_DOUBLE_EQ(views.pages[0].longest_gap_seconds, 4);
  EXPECT_EQ(views.pages[0].pages, 3);
}

TEST(GpuView, OfMemoryHasItsTotalAndOfPagesWithoutFreeHasNone) {
  const LoadRun run = ten_seconds();
  GpuSeries series = pages_with(run, {steady, steady});
  for (GpuSample& sample : series.samples) {
    for (GpuReading& reading : sample.readings) reading[GpuGauge::kMemoryUsed] = 30'000;
    sample.readings[0][GpuGauge::kMemoryFree] = 50'000;
    sample.readings[0][GpuGauge::kMemoryReserved] = 500;
  }
  const GpuViews views = gpu_views({series}, run);
  EXPECT_EQ(views.gpus[0].memory_total_mib, 80'500);
  EXPECT_EQ(views.gpus[1].memory_total_mib, -1);
  EXPECT_EQ(views.gpus[1][GpuGauge::kMemoryUsed].peak, 30'000);
}

TEST(GpuView, SaysWhichErrorsCameSinceTheRunBegan) {
  const LoadRun run = ten_seconds();
  GpuSeries series = pages_with(run, {steady, steady, steady});
  for (GpuSample& sample : series.samples) {
    const double at = seconds_into(run.facts, sample.unix_ns);
    sample.readings[0][GpuGauge::kXid] = 79;  // all the time: from before the run
    // The exporter starts again and forgets; then 31 and, twice, 94; 13 is after the run.
    sample.readings[1][GpuGauge::kXid] = at < 1 ? 79 : at < 3 ? 0 : at < 4 ? 31 : at < 9 ? 94 : 13;
  }
  const GpuViews views = gpu_views({series}, run);
  EXPECT_THAT(views.gpus[0].xid_errors, Optional(IsEmpty()));
  EXPECT_THAT(views.gpus[1].xid_errors, Optional(ElementsAre(31, 94)));
  EXPECT_EQ(views.gpus[2].xid_errors, std::nullopt);
  std::vector<std::string> warnings;
  warn_of_gpus(views, warnings);
  EXPECT_THAT(warnings, ElementsAre("GPU 1 had XID error 31", "GPU 1 had XID error 94"));
}

TEST(GpuEnergy, IsOfAllGpusBesideTheTokensOfTheSameTime) {
  const LoadRun run = ten_seconds();
  const GpuViews views = gpu_views({pages_with(run, {steady, [](double) { return 300.0; }})}, run);
  ASSERT_TRUE(views.energy) << views.no_energy;
  EXPECT_EQ(views.energy->gpus, 2);
  EXPECT_DOUBLE_EQ(views.energy->joules, 2400);
  EXPECT_EQ(views.energy->output_tokens, 55);  // from 2.5 s to 7.9 s, each tenth of a second
  EXPECT_DOUBLE_EQ(views.energy->tokens_per_joule, 55.0 / 2400);
}

TEST(GpuEnergy, EndsWithThePowerAndSaysSo) {
  const LoadRun run = ten_seconds();
  // One falls off its bus after 4.5 s.
  const GpuViews views =
      gpu_views({pages_with(run, {steady, [](double at) { return at < 5 ? 100.0 : -1; }})}, run);
  ASSERT_TRUE(views.energy);
  EXPECT_DOUBLE_EQ(views.energy->from_seconds, 2);
  EXPECT_DOUBLE_EQ(views.energy->to_seconds, 4.5);
  EXPECT_DOUBLE_EQ(views.energy->joules, 500);
  EXPECT_EQ(views.energy->output_tokens, 20);
  EXPECT_DOUBLE_EQ(views.gpus[0].joules, 600);
  EXPECT_DOUBLE_EQ(views.gpus[1].to_seconds, 4.5);
  std::vector<std::string> warnings;
  warn_of_gpus(views, warnings);
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("is of 2.0 s to 4.5 s only")));
}

TEST(GpuEnergy, CountsAGpuOnceHoweverManyInstancesAndPagesHaveIt) {
  const LoadRun run = ten_seconds();
  GpuSeries series = pages_with(run, {steady, steady});
  series.gpus[1].uuid = series.gpus[0].uuid;
  series.gpus[0].instance = "3";
  series.gpus[1].instance = "5";
  const GpuViews views = gpu_views({series, series}, run);
  ASSERT_THAT(views.gpus, SizeIs(4));
  EXPECT_EQ(views.gpus[3].title, "GPU 1 instance 5 at h1:9400");
  ASSERT_TRUE(views.energy);
  EXPECT_EQ(views.energy->gpus, 1);
  EXPECT_DOUBLE_EQ(views.energy->joules, 600);
}

TEST(GpuEnergy, IsNoneWhereThePowerOfOneIsUnknown) {
  const LoadRun run = ten_seconds();
  const GpuViews partly = gpu_views({pages_with(run, {steady, [](double) { return -1.0; }})}, run);
  EXPECT_FALSE(partly.energy);
  EXPECT_EQ(partly.no_energy, "the power of GPU 1 is not known");
  GpuSeries gone{.target = "h2:9400", .gpus = {}, .samples = {}, .first_failure = "refused"};
  const GpuViews half = gpu_views({pages_with(run, {steady}), gone}, run);
  EXPECT_FALSE(half.energy);
  EXPECT_EQ(half.no_energy, "no page of h2:9400 could be had");
  EXPECT_DOUBLE_EQ(half.pages[1].longest_gap_seconds, 6);
  std::vector<std::string> warnings;
  warn_of_gpus(half, warnings);
  EXPECT_THAT(warnings, ElementsAre("no energy of the GPUs: no page of h2:9400 could be had"));
}

TEST(GpuEnergy, OfOnePageIsUnknown) {
  const LoadRun run = ten_seconds();
  GpuSeries series = pages_with(run, {steady});
  series.samples = {series.samples[5]};  // at 3.5 s
  const GpuViews views = gpu_views({series}, run);
  EXPECT_EQ(views.gpus[0][GpuGauge::kPower].mean, 100);
  EXPECT_EQ(views.gpus[0][GpuGauge::kPower].peak, 100);
  EXPECT_EQ(views.gpus[0].joules, -1);
  EXPECT_FALSE(views.energy);
}

TEST(GpuViews, OfNoPagesSayNothing) {
  const GpuViews views = gpu_views({}, ten_seconds());
  EXPECT_FALSE(views.energy);
  std::vector<std::string> warnings;
  warn_of_gpus(views, warnings);
  EXPECT_THAT(warnings, IsEmpty());
}

TEST(GpuViews, WarnOfAnExporterThatAsksSeldom) {
  RunBuilder builder;
  builder.add(answered(0, {.first_ns = kSecond, .messages = 1}));
  builder.facts().wall_ns = 60 * kSecond;
  const LoadRun run = builder.measured_until(60 * kSecond);
  GpuSeries series{.target = "h1:9400", .gpus = {{}}, .samples = {}, .first_failure = ""};
  for (int64_t second = -1; second <= 61; ++second) {
    GpuSample& sample = series.samples.emplace_back();
    sample.unix_ns = run.facts.start_unix_ns + second * kSecond;
    sample.readings.emplace_back()[GpuGauge::kPower] = 100 + static_cast<double>((second + 1) / 30);
  }
  std::vector<std::string> warnings;
  warn_of_gpus(gpu_views({series}, run), warnings);
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("2 of 61 pages of h1:9400 had a new value")));
}

}  // namespace
}  // namespace switchyard::test
