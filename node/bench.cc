// Every line compares the measured step with the floor of that very step: the bytes that the null
// backend counts for it, over the read bandwidth measured just before and after it (the better of
// the two: on a shared machine memory is not equally fast from one second to the next).
#include "node/bench.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "kernels/make_backend.h"
#include "node/bench_case.h"
#include "node/version.h"
#include "node/weight_flags.h"

namespace switchyard {
namespace {

struct BenchOptions {
  std::string model;
  std::string backend = "auto";
  int threads = 0;
  std::optional<uint64_t> random_seed;
  WeightFlags weights;
  std::vector<int> batches = {1, 4};
  std::vector<int> contexts = {64};
  std::vector<int> prefills = {512};
  int decode_steps = 32;
  int max_batch_tokens = 512;
  std::string json_file;
};

struct Row {
  std::string what;
  int rows = 0;
  int context = 0;
  double step_seconds = 0;  // median; of a prefill: of the whole prompt
  double tokens_per_second = 0;
  double bytes = 0;  // floor of the step, or of the whole prompt
  double flops = 0;
  double bandwidth = 0;    // bytes per second
  double floor_share = 0;  // floor time / measured time
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<long>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

Row decode_row(const BenchCase& bench_case,
               const std::vector<StepSample>& measured,
               const std::vector<StepSample>& counted) {
  std::vector<double> times, bytes, flops;
  for (const StepSample& sample : measured) times.push_back(sample.seconds);
  for (const StepSample& sample : counted) {
    bytes.push_back(sample.cost.bytes);
    flops.push_back(sample.cost.flops);
  }
  const double step = median(times);
  return {.what = "decode",
          .rows = bench_case.rows,
          .context = bench_case.context,
          .step_seconds = step,
          .tokens_per_second = bench_case.rows / step,
          .bytes = median(bytes),
          .flops = median(flops)};
}

Row prefill_row(const BenchCase& bench_case,
                const std::vector<StepSample>& measured,
                const std::vector<StepSample>& counted) {
  Row row = {.what = "prefill", .rows = bench_case.rows, .context = bench_case.context};
  for (const StepSample& sample : measured) row.step_seconds += sample.seconds;
  for (const StepSample& sample : counted) {
    row.bytes += sample.cost.bytes;
    row.flops += sample.cost.flops;
  }
  row.tokens_per_second = bench_case.rows * bench_case.context / row.step_seconds;
  return row;
}

void print_header(const std::string& backend) {
  std::printf("backend %s\n", backend.c_str());
  std::printf("%-8s %5s %8s %11s %12s %9s %9s %14s %10s\n", "case", "batch", "context", "ms",
              "tokens/s", "GFLOP/s", "GB/s", "machine's GB/s", "of floor");
}

void print_row(const Row& row) {
  std::printf("%-8s %5d %8d %11.3f %12.1f %9.1f %9.1f %14.1f %9.1f%%\n", row.what.c_str(), row.rows,
              row.context, row.step_seconds * 1e3, row.tokens_per_second,
              row.flops / row.step_seconds / 1e9, row.bytes / row.step_seconds / 1e9,
              row.bandwidth / 1e9, row.floor_share * 100);
  std::fflush(stdout);
}

nlohmann::ordered_json to_json(const Row& row) {
  return {{"case", row.what},
          {"batch", row.rows},
          {"context", row.context},
          {"seconds", row.step_seconds},
          {"tokens_per_second", row.tokens_per_second},
          {"floor_bytes", row.bytes},
          {"flops", row.flops},
          {"read_bytes_per_second", row.bandwidth},
          {"share_of_floor", row.floor_share}};
}

std::vector<BenchCase> cases_of(const BenchOptions& options) {
  std::vector<BenchCase> cases;
  for (const int context : options.contexts) {
    for (const int rows : options.batches) {
      cases.push_back({.rows = rows, .context = context, .decode_steps = options.decode_steps});
    }
  }
  for (const int context : options.prefills) cases.push_back({.rows = 1, .context = context});
  return cases;
}

EngineOptions engine_options(const BenchOptions& options) {
  EngineOptions engine;
  engine.max_batch_rows = 1;
  int longest = 1;
  for (const BenchCase& bench_case : cases_of(options)) {
    engine.max_batch_rows = std::max(engine.max_batch_rows, bench_case.rows);
    longest = std::max(longest, bench_case.context);
  }
  engine.max_batch_tokens = std::max(options.max_batch_tokens, engine.max_batch_rows);
  // A case whose prompts take many steps lets its first rows decode for as long.
  engine.max_context_tokens = longest + options.decode_steps + 16 +
                              engine.max_batch_rows * longest / engine.max_batch_tokens;
  engine.kv_memory_bytes = int64_t{1} << 40;  // cut to what all rows can need
  return engine;
}

Status measure(const BenchOptions& options, nlohmann::ordered_json& report) {
  const BackendOptions backend_options = {.threads = options.threads};
  MadeBackend made = make_backend(options.backend, backend_options);
  if (made.backend == nullptr) return Status(Code::kInvalidArgument, made.message);
  const EngineOptions engine = engine_options(options);
  const Result<WeightPlan> plan = read_weight_flags(options.weights);
  if (!plan) return plan.status();

  NullBackend null(made.backend->activation_type());
  Result<std::unique_ptr<BenchEngine>> counter = BenchEngine::create(
      {.folder = options.model, .weights = WeightOrigin::kShapesOnly, .plan = *plan}, engine, null,
      &null);
  if (!counter) return counter.status();
  Result<std::unique_ptr<BenchEngine>> timer = BenchEngine::create(
      {.folder = options.model,
       .weights = options.random_seed ? WeightOrigin::kRandom : WeightOrigin::kCheckpoint,
       .seed = options.random_seed.value_or(0),
       .plan = *plan},
      engine, *made.backend, nullptr);
  if (!timer) return timer.status();

  report["version"] = kVersion;
  report["model"] = options.model;
  report["backend"] = made.message;
  report["weights"] = name_of(plan->weights);
  report["head_weights"] = name_of(plan->head_choice());
  report["weight_bytes"] = (*timer)->engine().weight_bytes();
  report["rows"] = nlohmann::ordered_json::array();
  print_header(made.message);
  double before = measure_read_bandwidth(made.backend->name(), backend_options);
  for (const BenchCase& bench_case : cases_of(options)) {
    const Result<std::vector<StepSample>> counted = (*counter)->run(bench_case);
    if (!counted) return counted.status();
    const Result<std::vector<StepSample>> measured = (*timer)->run(bench_case);
    if (!measured) return measured.status();
    Row row = bench_case.decode_steps > 0 ? decode_row(bench_case, *measured, *counted)
                                          : prefill_row(bench_case, *measured, *counted);
    const double after = measure_read_bandwidth(made.backend->name(), backend_options);
    row.bandwidth = std::max(before, after);
    if (row.bandwidth > 0) row.floor_share = row.bytes / row.bandwidth / row.step_seconds;
    before = after;
    print_row(row);
    report["rows"].push_back(to_json(row));
  }
  return {};
}

}  // namespace

int bench_main(std::span<const char* const> arguments) {
  CLI::App app(
      "Measures a model through the whole engine, without the network. Decode lines give the "
      "median "
      "step; `of floor` is the time that reading the step's bytes must take, over the time it "
      "took.",
      "switchyard-node bench");
  BenchOptions options;
  uint64_t seed = 0;
  app.add_option("--model", options.model, "model folder")->required();
  CLI::Option* random = app.add_option(
      "--random-weights", seed, "random weights from this seed; the folder needs only config.json");
  app.add_option("--backend", options.backend, "auto or cpu")->capture_default_str();
  app.add_option("--weights", options.weights.weights, kWeightsHelp)->capture_default_str();
  app.add_option("--head-weights", options.weights.head, kHeadWeightsHelp)->capture_default_str();
  app.add_option("--weight-scales", options.weights.scales, kWeightScalesHelp)
      ->capture_default_str();
  app.add_option("--threads", options.threads, "0: the cores this process may use")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--batch", options.batches, "rows that decode at once, comma-separated")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--context", options.contexts, "prompt tokens before decoding, comma-separated")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--prefill", options.prefills, "prompt lengths to time, comma-separated")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--decode-steps", options.decode_steps, "steps timed for each decode line")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--max-batch-tokens", options.max_batch_tokens, "tokens of one step")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--json", options.json_file, "also write the figures to this file");
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (random->count() > 0) options.random_seed = seed;

  nlohmann::ordered_json report;
  if (const Status status = measure(options, report); !status.ok()) {
    std::fprintf(stderr, "switchyard-node bench: %s\n", status.message().c_str());
    return 1;
  }
  if (!options.json_file.empty()) {
    std::ofstream file(options.json_file);
    file << report.dump(2) << "\n";
    if (!file.flush()) {
      std::fprintf(stderr, "switchyard-node bench: cannot write %s\n", options.json_file.c_str());
      return 1;
    }
  }
  return 0;
}

}  // namespace switchyard
