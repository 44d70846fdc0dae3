// Writes a report of a made-up run in every form into a folder: report_files_test.py reads them,
// and so can whoever wants to see what a report looks like.
//
//   load_sample_report FOLDER             with classes, nodes, errors, faults, metrics and a sweep
//   load_sample_report FOLDER --hostile   names and messages that try to break out
//   load_sample_report FOLDER --late      of a client that was late
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string_view>

#include "client/load/report_html.h"
#include "client/load/report_json.h"
#include "client/load/report_lines.h"
#include "client/load/report_table.h"
#include "tests/client/load/synthetic_run.h"

namespace switchyard::test {
namespace {

constexpr int64_t kRunNs = 120 * kSecond;

int64_t nanoseconds(double ms) { return static_cast<int64_t>(ms * 1e6); }

// Two minutes of chats and summaries on two nodes, one of which stalls for a second.
LoadRun make_run(double rate) {
  std::mt19937_64 random(11);
  std::exponential_distribution<double> gap(rate);
  std::lognormal_distribution<double> first(std::log(45.0 + rate), 0.5);
  std::lognormal_distribution<double> between(std::log(11.0 + rate / 8), 0.25);
  std::uniform_int_distribution<int> length(20, 120);
  RunBuilder builder;
  int64_t session = 0;
  for (double at = 0; at < 120; at += gap(random)) {
    const bool chat = random() % 4 != 0;
    Delays delays{.first_ns = nanoseconds(first(random) * (chat ? 1 : 3)),
                  .gap_ns = nanoseconds(between(random)),
                  .messages = length(random)};
    const auto at_ns = static_cast<int64_t>(at * 1e9);
    const bool second_node = random() % 3 == 0;
    if (!second_node && at > 70 && at < 71) delays.first_ns += 71 * kSecond - at_ns;
    RequestRecord record = answered(at_ns, delays);
    if (random() % 50 == 0) {
      record = failed(at_ns, 8, "QUEUE_FULL");
      record.message = "the queue is full: 256 requests";
      record.retry_hint = true;
    } else if (random() % 400 == 0) {
      record = failed(at_ns, 14);
      record.message = "connection reset by peer";
      if (random() % 2 == 0) record.node_id = "node-a";
    } else if (random() % 100 == 0) {
      record.fault = LoadFault::kCancel;
      record.code = 1;
    }
    record.class_name = chat ? "chat" : "summary";
    record.measured = at > 10;
    record.session = chat ? session + static_cast<int64_t>(random() % 5) : -1;
    record.turn = static_cast<int32_t>(at * 1000);
    if (random() % 20 == 0) session += 5;
    if (second_node) record.target = "127.0.0.1:50052";
    if (second_node && record.code == 0) record.node_id = "node-b";
    builder.add(record);
  }
  RunFacts& facts = builder.facts();
  facts.targets = {"127.0.0.1:50051", "127.0.0.1:50052"};
  facts.channels = 4;
  facts.warmup_ns = facts.measured_from_ns = 10 * kSecond;
  facts.stop_reason = StopReason::kDuration;
  facts.client_cpu_seconds = 9.3;
  facts.lateness.worst_ns = 3 * kMs;
  facts.lateness.median_ns = 40'000;
  facts.lateness.p99_ns = 900'000;
  facts.balance = "round-robin";
  facts.events = {{.what = "kubectl delete pod switchyard-0",
                   .planned_ns = 70 * kSecond,
                   .began_ns = 70 * kSecond,
                   .ended_ns = 71 * kSecond,
                   .succeeded = true,
                   .outcome = "exit code 0"},
                  {.what = "drain 127.0.0.1:9001",
                   .planned_ns = 300 * kSecond,
                   .outcome = "the run was over before"}};
  LoadRun run = builder.measured_until(kRunNs);
  for (int64_t at_ns = 0; at_ns < run.facts.wall_ns; at_ns += kSecond) {
    LoadSample sample{.at_ns = at_ns};
    for (const RequestRecord& record : run.records) {
      if (record.sent_ns <= at_ns && record.end_ns > at_ns) ++sample.in_flight;
    }
    run.facts.peak_in_flight = std::max(run.facts.peak_in_flight, sample.in_flight);
    run.facts.samples.push_back(sample);
  }
  return run;
}

BucketCounts histogram(double count, double mean) {
  BucketCounts counts;
  for (const double bound : {0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5}) {
    counts.bounds.push_back(bound);
    counts.cumulative.push_back(std::floor(count * (1 - std::exp(-bound / mean))));
  }
  counts.bounds.push_back(INFINITY);
  counts.cumulative.push_back(count);
  counts.sum = count * mean;
  return counts;
}

ServerSeries pages_of(const LoadRun& run, const std::string& target, double part) {
  ServerSeries series{.target = target, .version = "0.1.0", .samples = {}, .first_failure = ""};
  for (int64_t second = -1; second <= run.facts.wall_ns / kSecond + 1; ++second) {
    ++series.scrapes;
    if (second == 30) {
      series.failures = 1;
      series.first_failure = "connecting: no end in time";
      continue;
    }
    const double done = part * static_cast<double>(std::max<int64_t>(second, 0));
    ServerSample sample;
    sample.unix_ns = run.facts.start_unix_ns + second * kSecond + 300 * kMs;
    sample.running = std::round(part * (20 + 8 * std::sin(static_cast<double>(second) / 5)));
    sample.waiting = second > 69 && second < 73 ? 14 * part : 0;
    sample.cache_usage = 0.35 + 0.3 * part * std::sin(static_cast<double>(second) / 17 + part);
    sample.generation_tokens = std::round(done * 700);
    sample.computed_prompt_tokens = std::round(done * 750);
    sample.cached_prompt_tokens = std::round(done * 250);
    sample.preemptions = std::floor(done / 30);
    sample.rejected = std::floor(done / 5);
    sample.time_to_first_token = histogram(std::floor(done * 10), 0.06);
    sample.inter_token_latency = histogram(std::floor(done * 690), 0.0122);
    sample.queue = histogram(std::floor(done * 10), 0.002);
    sample.end_to_end = histogram(std::floor(done * 10), 0.9);
    series.samples.push_back(sample);
  }
  return series;
}

// Two GPUs of a host whose exporter is gone for five seconds and that knows no SM activity.
GpuSeries gpus_of(const LoadRun& run, const std::string& target) {
  GpuSeries series{.target = target, .gpus = {}, .samples = {}, .first_failure = ""};
  for (const char* index : {"0", "1"}) {
    series.gpus.push_back({.index = index,
                           .instance = "",
                           .uuid = std::string("GPU-6f1c2a04-0000-4000-8000-00000000000") + index,
                           .model = "NVIDIA H100 80GB HBM3",
                           .host = "gpu-node-1",
                           .pod = "serving/switchyard-0"});
  }
  for (int64_t second = -1; second <= run.facts.wall_ns / kSecond + 1; ++second) {
    ++series.scrapes;
    if (second >= 40 && second < 45) {
      if (series.failures++ == 0) series.first_failure = "connecting: Connection refused";
      continue;
    }
    GpuSample sample{.unix_ns = run.facts.start_unix_ns + second * kSecond + 500 * kMs,
                     .readings = std::vector<GpuReading>(2)};
    const bool busy = second >= 0 && second < run.facts.wall_ns / kSecond;
    for (size_t gpu = 0; gpu < 2; ++gpu) {
      const double wave = std::sin(static_cast<double>(second) / (gpu == 0 ? 6 : 11));
      GpuReading& reading = sample.readings[gpu];
      reading[GpuGauge::kUtilisation] = busy ? 0.8 + 0.15 * wave : 0;
      reading[GpuGauge::kEngineActive] = busy ? 0.75 + 0.15 * wave : 0;
      reading[GpuGauge::kTensorActive] = busy ? 0.22 + 0.1 * wave : 0;
      reading[GpuGauge::kDramActive] = busy ? 0.5 + 0.2 * wave : 0;
      reading[GpuGauge::kMemoryUsed] = 61'440 + 512 * static_cast<double>(gpu);
      reading[GpuGauge::kMemoryFree] = 81'559 - reading[GpuGauge::kMemoryUsed];
      reading[GpuGauge::kPower] = busy ? 430 + 90 * wave : 71;
      reading[GpuGauge::kTemperature] = busy ? 58 + 4 * wave : 34;
      reading[GpuGauge::kSmClock] = busy ? 1'920 : 345;
      reading[GpuGauge::kXid] = gpu == 1 && second >= 90 ? 94 : 0;
    }
    series.samples.push_back(std::move(sample));
  }
  return series;
}

ReportContext context_of(const LoadRun& run) {
  ReportContext context;
  context.environment = {.host = "bench-1",
                         .system = "Linux 6.1.0 x86_64",
                         .processor = "Some CPU @ 3.0 GHz",
                         .cores = 8,
                         .command_line = "switchyard load --rate 15 --duration 120 --sweep"};
  (void)add_objective("ttft=500,tpot=30", context.objectives);
  (void)add_objective("chat:ttft=200", context.objectives);
  context.objectives.good_share = 0.95;
  context.servers = {pages_of(run, "127.0.0.1:9400", 0.66), pages_of(run, "127.0.0.1:9401", 0.34)};
  context.gpus = {gpus_of(run, "127.0.0.1:9410")};
  return context;
}

const std::string kBad =
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\n\x1b[31m";

void make_hostile(LoadRun& run) {
  const std::string& bad = kBad;
  run.facts.model = bad;
  run.facts.spec_json = "{\"name\": \"</pre><script>alert(3)</script>\"}";
  run.facts.targets.push_back("=cmd|' /C calc'!A0");
  run.facts.events[0].what = bad;
  run.facts.events[0].outcome = bad;
  for (RequestRecord& record : run.records) {
    if (record.class_name == "chat") record.class_name = "=1+1," + bad;
    if (record.node_id == "node-b") record.node_id = bad;
    if (record.code != 0) record.message = bad + "\xff\xfe caf\xc3";
    if (record.code != 0) record.reason = bad;
  }
}

void make_hostile(ReportContext& context) {
  for (GpuName& gpu : context.gpus.front().gpus) gpu.index = gpu.model = gpu.pod = kBad;
  context.gpus.front().first_failure = kBad;
}

int write_all(const std::string& folder, std::string_view kind) {
  LoadRun run = make_run(15);
  if (kind == "--hostile") make_hostile(run);
  if (kind == "--late") run.facts.lateness.late_sends = run.facts.lateness.sends / 20;
  Report report;
  if (kind.empty()) {
    SweepResult sweep;
    for (const double rate : {5.0, 10.0, 20.0, 40.0})
      sweep.points.push_back({rate, make_run(rate), {}});
    sweep.points.push_back({15, run, {}});
    ReportContext context = context_of(run);
    for (SweepPoint& point : sweep.points) {
      point.verdict = sweep_verdict(point.run, context.objectives);
    }
    sweep.best_rate = 15;
    report = make_sweep_report(sweep, std::move(context));
  } else {
    ReportContext context = context_of(run);
    if (kind == "--hostile") make_hostile(context);
    report = make_report(run, std::move(context));
  }
  std::ofstream json(folder + "/report.json");
  std::ofstream html(folder + "/report.html");
  std::ofstream csv(folder + "/report.csv");
  std::ofstream lines(folder + "/requests.jsonl");
  write_json(report_json(report), json);
  html << report_html(report);
  write_csv(report, csv);
  write_request_lines(run.records, lines);
  write_table(report, std::cout);
  return json && html && csv && lines ? 0 : 1;
}

}  // namespace
}  // namespace switchyard::test

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: load_sample_report FOLDER [--hostile | --late]\n");
    return 2;
  }
  return switchyard::test::write_all(argv[1], argc > 2 ? argv[2] : "");
}
