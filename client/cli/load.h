// `switchyard load`: flags and a file become a specification (client/load/load_spec.h), which is
// run, swept or saved. What a load does is client/load's.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "client/cli/flags.h"
#include "client/cli/load_report.h"
#include "client/load/load.h"

namespace switchyard {

struct LoadFlags {
  NodeFlags node;
  std::vector<std::string> targets;  // empty: the node
  int channels = 1;
  BalancePolicy balance = BalancePolicy::kRoundRobin;
  std::vector<PlannedEvent> events;
  double ready_seconds = 10;

  std::string workload_file;
  std::string save_file;
  // Fields of a specification, laid over the file's (lay_over() of load_spec.h).
  nlohmann::json fields = nlohmann::json::object();

  std::string sweep_rates;  // "LOW:HIGH"; empty: one run
  SweepSpec sweep;

  LoadReportFlags report;

  void add_to(CLI::App& command);

 private:
  void add_where(CLI::App& command);
  void add_when(CLI::App& command);
  void add_how_long(CLI::App& command);
  void add_what(CLI::App& command);
  void add_faults(CLI::App& command);
  void add_events(CLI::App& command);
  void add_searches(CLI::App& command);
};

// Exit code: 0, 1 when a node failed, 2 when the specification is wrong, 3 when this client was
// late.
int run_load(const LoadFlags& flags, Environment environment);

}  // namespace switchyard
