#include "client/cli/load.h"

#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>

#include "client/cli/interrupt.h"
#include "client/cli/output.h"
#include "client/load/failure.h"
#include "client/load/json_fields.h"
#include "client/load/progress.h"
#include "client/load/words.h"

namespace switchyard {
namespace {

constexpr int kNodeFailed = 1;
constexpr int kWrongCommand = 2;

int complain(const absl::Status& status, int exit_code) {
  std::cerr << "error: " << without_controls(why(status)) << '\n';
  return exit_code;
}

absl::StatusOr<LoadSpec> read_spec(const LoadFlags& flags) {
  nlohmann::json file = nlohmann::json::object();
  if (!flags.workload_file.empty()) {
    std::ifstream in(flags.workload_file, std::ios::binary);
    if (!in) return failure(flags.workload_file, ": cannot be opened");
    const JsonLimits limits;
    std::string text(limits.bytes + 1, '\0');  // one more: enough to see that it is too long
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(in.gcount()));
    auto json = parse_json(text, limits);
    if (!json.ok()) return within(flags.workload_file, json.status());
    file = *std::move(json);
  }
  nlohmann::json laid = lay_over(std::move(file), flags.fields);
  if (!flags.sweep_rates.empty() && laid.is_object()) {
    laid["duration_seconds"] = flags.sweep.seconds;
  }
  if (flags.node.timeout_seconds && laid.is_object()) {
    laid["timeout_seconds"] = *flags.node.timeout_seconds;
  }
  return parse_load_spec(laid);
}

int save(Load& load, const std::string& path) {
  std::ofstream out(path, std::ios::binary);
  if (!out) return complain(failure(path, ": cannot be written"), kWrongCommand);
  if (absl::Status status = load.save(out); !status.ok()) return complain(status, kWrongCommand);
  return 0;
}

}  // namespace

int run_load(const LoadFlags& flags, Environment environment) {
  auto reporter = LoadReporter::make(flags.report, std::move(environment));
  if (!reporter.ok()) return complain(reporter.status(), kWrongCommand);
  const auto spec = read_spec(flags);
  if (!spec.ok()) return complain(spec.status(), kWrongCommand);
  if (!flags.sweep_rates.empty()) {
    if (absl::Status status = check(flags.sweep); !status.ok()) {
      return complain(status, kWrongCommand);
    }
  }
  std::optional<Targets> targets;
  std::unique_ptr<Load> load;
  // Before there are other threads, and ended before what it may stop. The first Ctrl-C ends the
  // load with what there is; before a load and after that one it ends the program.
  std::atomic<Load*> running = nullptr;
  const Interrupts interrupts([&running] {
    constexpr int kInterrupted = 130;
    Load* stoppable = running.exchange(nullptr);
    if (stoppable == nullptr) std::_Exit(kInterrupted);
    stoppable->stop();
  });

  const std::vector<std::string> addresses =
      flags.node.targets.empty() ? std::vector{flags.node.channel.target} : flags.node.targets;
  targets.emplace(flags.node.channel, addresses, flags.channels, flags.balance);
  const auto ready_time = std::chrono::milliseconds(std::llround(flags.ready_seconds * 1000));
  auto opened = Load::open(*spec, *targets, ready_time);
  if (!opened.ok()) return complain(opened.status(), kNodeFailed);
  load = *std::move(opened);
  if (!flags.save_file.empty()) return save(*load, flags.save_file);

  load->set_events(flags.events);
  running = load.get();
  reporter->begin();
  const Output output{std::cout, std::cerr};
  const auto kind =
      isatty(STDERR_FILENO) != 0 ? ProgressLine::Kind::kTerminal : ProgressLine::Kind::kLog;
  std::optional<ProgressLine> line;
  load->on_start([&](auto) { line.emplace(std::cerr, kind); });
  load->on_progress([&](const LoadProgress& progress, const LiveLatency& first_tokens) {
    line->show(progress, first_tokens);
  });
  if (!flags.sweep_rates.empty()) {
    const auto judge = [&](const LoadRun& run) {
      return sweep_verdict(run, reporter->objectives());
    };
    const auto result = load->sweep(flags.sweep, judge);
    line.reset();
    if (!result.ok()) return complain(result.status(), kWrongCommand);
    return reporter->report(*result, output);
  }
  const auto run = load->run();
  line.reset();
  if (!run.ok()) return complain(run.status(), kWrongCommand);
  return reporter->report(*run, output);
}

}  // namespace switchyard
