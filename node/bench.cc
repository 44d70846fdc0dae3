// Every line compares the measured step with the floor of that very step: the bytes that the null
// backend counts for it, over the read bandwidth; and with its skeleton: the same, and what it
// costs that each op waits for the one before.
#include "node/bench.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "kernels/make_backend.h"
#include "node/bench_case.h"
#include "node/bench_compare.h"
#include "node/bench_report.h"
#include "node/version.h"
#include "node/weight_flags.h"

namespace switchyard {
namespace {

// Measured on an H200: a chain of dependent kernels in one graph, launched programmatically, each
// reading a little of what the one before wrote.
constexpr double kCudaStepSeconds = 1.6e-6;

struct BenchOptions {
  std::string model;
  std::string backend = "auto";
  int threads = 0;
  std::optional<uint64_t> random_seed;
  WeightFlags weights;
  // Empty or 0: by the backend.
  std::vector<int> batches;
  std::vector<int> contexts;
  std::vector<int> prefills;
  int decode_steps = 0;
  int prefill_runs = 3;
  int max_batch_tokens = 0;
  bool by_op = false;
  std::string json_file;
  std::string base_file;
  double max_regression_percent = 5;
};

// Fills in what was left to the backend.
BenchOptions resolve(BenchOptions options, const Backend& backend) {
  const bool on_host = backend.reads_host_memory();
  const auto choose = [on_host](std::vector<int>& list, std::vector<int> host,
                                std::vector<int> device) {
    if (list.empty()) list = on_host ? std::move(host) : std::move(device);
  };
  choose(options.batches, {1, 4}, {1, 8, 64, 256});
  choose(options.contexts, {64}, {64, 1024, 8192, 32768});
  choose(options.prefills, {512}, {512, 2048, 8192});
  return options;
}

int decode_steps(const BenchOptions& options, int rows, const Backend& backend) {
  if (options.decode_steps > 0) return options.decode_steps;
  return rows < 64 && !backend.reads_host_memory() ? 128 : 32;
}

std::vector<BenchCase> cases_of(const BenchOptions& options, const Backend& backend) {
  std::vector<BenchCase> cases;
  for (const int context : options.contexts) {
    for (const int rows : options.batches) {
      cases.push_back(
          {.rows = rows, .context = context, .decode_steps = decode_steps(options, rows, backend)});
    }
  }
  for (const int context : options.prefills) cases.push_back({.rows = 1, .context = context});
  return cases;
}

EngineOptions engine_options(const BenchOptions& options,
                             const std::vector<BenchCase>& cases,
                             const Backend& backend) {
  constexpr int kFewestTokens = 512;  // of a step, if it is the engine's choice
  EngineOptions engine;
  engine.max_batch_rows = 1;
  int longest = 1;
  int steps = 1;
  for (const BenchCase& bench_case : cases) {
    engine.max_batch_rows = std::max(engine.max_batch_rows, bench_case.rows);
    longest = std::max(longest, bench_case.context);
    steps = std::max(steps, bench_case.decode_steps);
  }
  engine.max_queue = std::max(engine.max_queue, engine.max_batch_rows);
  engine.max_batch_tokens =
      options.max_batch_tokens > 0 ? std::max(options.max_batch_tokens, engine.max_batch_rows) : 0;
  // A case whose prompts take many steps lets its first rows decode for as long. Beside that, what
  // BenchEngine adds: warm-up, spare steps and a block of cache.
  const int step_tokens = engine.max_batch_tokens > 0 ? engine.max_batch_tokens : kFewestTokens;
  const int64_t context =
      longest + steps + 160 + int64_t{engine.max_batch_rows} * longest / step_tokens;
  engine.max_context_tokens = static_cast<int>(std::min<int64_t>(context, 1 << 30));
  // On the host: what all rows can need, and only what is used is taken.
  engine.kv_memory_bytes = backend.reads_host_memory() ? int64_t{1} << 40 : 0;
  return engine;
}

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return text;
}

// What is measured on, with the engine that is timed and the one that counts.
struct Bench {
  const BenchOptions& options;
  Backend& backend;
  BenchMachine machine;
  std::unique_ptr<BenchEngine> timer, counter;
};

double read_bandwidth(const Bench& bench) {
  return measure_read_bandwidth(bench.backend.name(), {.threads = bench.options.threads});
}

Result<BenchRow> measure_case(Bench& bench, const BenchCase& bench_case) {
  const Result<BenchRun> counted = bench.counter->run(bench_case, Replay::kNo);
  if (!counted) return counted.status();
  const bool decodes = bench_case.decode_steps > 0;
  const Replay replay = bench.options.by_op ? Replay::kByOp
                        : decodes           ? Replay::kWhole
                                            : Replay::kNo;
  std::vector<BenchRun> runs;
  for (int left = decodes ? 0 : bench.options.prefill_runs; left >= 0; --left) {
    Result<BenchRun> run = bench.timer->run(bench_case, left == 0 ? replay : Replay::kNo);
    if (!run) return run.status();
    runs.push_back(std::move(run).value());
  }
  // On a shared machine memory is not equally fast from one second to the next.
  BenchMachine machine = bench.machine;
  if (bench.backend.reads_host_memory()) {
    const double after = read_bandwidth(bench);
    machine.read_bytes_per_second = std::max(bench.machine.read_bytes_per_second, after);
    bench.machine.read_bytes_per_second = after;
  }
  return make_row(bench_case, runs, *counted, machine);
}

// The cases that fit, the counter's cache just large enough for them.
Result<std::vector<BenchCase>> prepare(Bench& bench,
                                       NullBackend& null,
                                       OpRecorder& recorder,
                                       ModelSource source,
                                       nlohmann::ordered_json& report) {
  const std::vector<BenchCase> wanted = cases_of(bench.options, bench.backend);
  EngineOptions engine = engine_options(bench.options, wanted, bench.backend);
  Result<std::unique_ptr<BenchEngine>> timer =
      BenchEngine::create(source, engine, recorder, nullptr, &recorder);
  if (!timer) return timer.status();
  bench.timer = std::move(timer).value();

  std::vector<BenchCase> cases;
  int64_t most_tokens = 1;
  Status last_failure;
  for (const BenchCase& bench_case : wanted) {
    if (Status status = bench.timer->fits(bench_case); !status.ok()) {
      print_skipped(bench_case, status.message());
      report["skipped"].push_back(to_json(bench_case));
      report["skipped"].back()["why"] = status.message();
      last_failure = std::move(status);
      continue;
    }
    cases.push_back(bench_case);
    most_tokens = std::max(most_tokens, bench.timer->cache_tokens(bench_case));
  }
  if (cases.empty()) return last_failure;

  const Engine& timed = bench.timer->engine();
  engine.max_batch_tokens = timed.options().max_batch_tokens;
  engine.kv_memory_bytes = bench.timer->cache_bytes(most_tokens);
  // A checkpoint says which formats its matrices have; a null backend does not look at the values.
  if (source.weights == WeightOrigin::kRandom) source.weights = WeightOrigin::kShapesOnly;
  Result<std::unique_ptr<BenchEngine>> counter =
      BenchEngine::create(source, engine, null, &null, nullptr);
  if (!counter) return counter.status();
  bench.counter = std::move(counter).value();
  report["weight_bytes"] = timed.weight_bytes();
  report["max_batch_tokens"] = timed.options().max_batch_tokens;
  return cases;
}

Status measure(const BenchOptions& asked, nlohmann::ordered_json& report) {
  const MadeBackend made = make_backend(asked.backend, {.threads = asked.threads});
  if (made.backend == nullptr) return Status(Code::kInvalidArgument, made.message);
  Backend& backend = *made.backend;
  const BenchOptions options = resolve(asked, backend);
  const Result<WeightPlan> plan = read_weight_flags(options.weights);
  if (!plan) return plan.status();
  report["schema"] = "switchyard-bench/1";
  report["version"] = kVersion;
  report["date"] = now_text();
  report["model"] = options.model;
  report["backend"] = made.message;
  report["seed"] = options.random_seed ? nlohmann::ordered_json(*options.random_seed) : nullptr;
  report["weights"] = name_of(plan->weights);
  report["head_weights"] = name_of(plan->head_choice());
  report["weight_scales"] = name_of(plan->scales);
  report["rows"] = nlohmann::ordered_json::array();
  report["skipped"] = nlohmann::ordered_json::array();
  print_header(made.message);

  NullBackend null(backend);
  OpRecorder recorder(backend);
  Bench bench{.options = options,
              .backend = backend,
              .machine = {.step_seconds = backend.name() == "cuda" ? kCudaStepSeconds : 0},
              .timer = nullptr,
              .counter = nullptr};
  // Before the engine takes the memory.
  bench.machine.read_bytes_per_second = read_bandwidth(bench);
  const Result<std::vector<BenchCase>> cases =
      prepare(bench, null, recorder,
              {.folder = options.model,
               .weights = options.random_seed ? WeightOrigin::kRandom : WeightOrigin::kCheckpoint,
               .seed = options.random_seed.value_or(0),
               .plan = *plan},
              report);
  if (!cases) return cases.status();
  for (const BenchCase& bench_case : *cases) {
    const Result<BenchRow> row = measure_case(bench, bench_case);
    if (!row) return row.status();
    print_row(*row);
    report["rows"].push_back(to_json(*row));
  }
  return {};
}

// Measures, writes, compares. An error is the end; otherwise whether nothing regressed.
Result<bool> run(const BenchOptions& options) {
  nlohmann::ordered_json base;
  if (!options.base_file.empty()) {
    Result<nlohmann::ordered_json> read = read_bench_report(options.base_file);
    if (!read) return read.status();
    base = *std::move(read);
  }
  nlohmann::ordered_json report;
  if (Status status = measure(options, report); !status.ok()) return status;
  if (!options.json_file.empty()) {
    std::ofstream file(options.json_file);
    file << report.dump(2) << "\n";
    if (!file.flush()) return Status(Code::kInternal, "cannot write ", options.json_file);
  }
  if (base.is_null()) return true;
  const Result<std::vector<BenchChange>> changes = compare_bench_reports(base, report);
  if (!changes) return changes.status().within(options.base_file);
  return print_changes(*changes, options.max_regression_percent / 100);
}

}  // namespace

int bench_main(std::span<const char* const> arguments) {
  CLI::App app(
      "Measures a model through the whole engine, without the network. Decode lines give the "
      "median step, prefill lines the fastest prompt. `floor` is the time that reading the bytes "
      "must take, over the time it took; `skeleton` the same with what dependent steps must take; "
      "`host gap` the share of a step in which the device waits for the host.",
      "switchyard-node bench");
  BenchOptions options;
  uint64_t seed = 0;
  app.add_option("--model", options.model, "model folder")->required();
  CLI::Option* random = app.add_option(
      "--random-weights", seed, "random weights from this seed; the folder needs only config.json");
  app.add_option("--backend", options.backend, "auto, cpu or cuda")->capture_default_str();
  app.add_option("--weights", options.weights.weights, kWeightsHelp)->capture_default_str();
  app.add_option("--head-weights", options.weights.head, kHeadWeightsHelp)->capture_default_str();
  app.add_option("--weight-scales", options.weights.scales, kWeightScalesHelp)
      ->capture_default_str();
  app.add_option("--threads", options.threads, "0: the cores this process may use")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--batch", options.batches,
                 "rows that decode at once, comma-separated; default 1,8,64,256, or 1,4 on a CPU")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096));
  app.add_option(
         "--context", options.contexts,
         "prompt tokens before decoding, comma-separated; default 64,1024,8192,32768, or 64 "
         "on a CPU")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--prefill", options.prefills,
                 "prompt lengths to time, comma-separated; default 512,2048,8192, or 512 on a CPU")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--decode-steps", options.decode_steps,
                 "steps timed for each decode line; default 128, 32 from 64 rows on or on a CPU")
      ->check(CLI::Range(1, 10000));
  app.add_option("--prefill-runs", options.prefill_runs,
                 "prompts timed for each prefill line, after one that warms up")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--max-batch-tokens", options.max_batch_tokens,
                 "tokens of one step; 0: 8192, or 512 on a CPU")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  app.add_flag("--by-op", options.by_op, "below each line the time of each kind of op in a step");
  app.add_option("--json", options.json_file, "also write the figures to this file");
  app.add_option("--compare", options.base_file,
                 "an earlier --json file: exit with 1 when a line became slower than there");
  app.add_option("--max-regression", options.max_regression_percent,
                 "by how many percent of the time it may (5 or 5%)")
      ->transform([](std::string text) {
        if (text.ends_with('%')) text.pop_back();
        return text;
      })
      ->check(CLI::Range(0.0, 1000.0))
      ->capture_default_str();
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (random->count() > 0) options.random_seed = seed;

  const Result<bool> good = run(options);
  if (!good) std::fprintf(stderr, "switchyard-node bench: %s\n", good.status().message().c_str());
  return good && *good ? 0 : 1;
}

}  // namespace switchyard
