// What a measured case comes to, against what it must cost: as lines of a table and as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "node/bench_case.h"

namespace switchyard {

// What the backend's machine could do at best.
struct BenchMachine {
  double read_bytes_per_second = 0;
  // What a step costs that has to wait for the one before, beside its bytes; 0 where nobody knows.
  double step_seconds = 0;
};

// Time as a share of what it takes to read bytes, or to do that in dependent steps.
struct BenchShares {
  double of_floor = 0;
  std::optional<double> of_skeleton;
};
BenchShares shares_of(const Cost& cost, double seconds, const BenchMachine& machine);

struct BenchRow {
  BenchCase bench_case;
  double seconds = 0;      // decode: the median step; prefill: the fastest of all runs' prompts
  double p95_seconds = 0;  // of the same
  double first_seconds = 0;
  double tokens_per_second = 0;
  Cost cost;  // of the step, or of the whole prompt
  BenchMachine machine;
  BenchShares shares;
  std::optional<double> replay_seconds;  // the step's ops alone, back to back
  double distinct_experts = 0;           // as ReplayedStep
  std::vector<OpTimes> ops;              // with the costs of all

  // The share of a step in which the device waits for the host.
  [[nodiscard]] std::optional<double> host_gap() const;
};

// `runs`: one of decode; of prefill the first one warms up. `counted`: of the same case.
BenchRow make_row(const BenchCase& bench_case,
                  const std::vector<BenchRun>& runs,
                  const BenchRun& counted,
                  const BenchMachine& machine);

void print_header(const std::string& backend);
void print_row(const BenchRow& row);
void print_skipped(const BenchCase& bench_case, const std::string& why);
nlohmann::ordered_json to_json(const BenchRow& row);
nlohmann::ordered_json to_json(const BenchCase& bench_case);

}  // namespace switchyard
