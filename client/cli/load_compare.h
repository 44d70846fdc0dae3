// `switchyard load compare BASE NEW`: holds one report of a load against an earlier one.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "client/cli/output.h"

namespace switchyard {

struct LoadCompareFlags {
  std::string base;
  std::string now;
  double max_regression_percent = 5;

  void add_to(CLI::App& command);
};

// The subcommand `compare` of `load`; `flags` must outlive it.
CLI::App* add_compare_to(CLI::App& load, LoadCompareFlags& flags);

// Exit code: 0, 1 when a figure regressed, 2 when the reports cannot be read or compared.
int compare_loads(const LoadCompareFlags& flags, Output output);
int run_load_compare(const LoadCompareFlags& flags);

}  // namespace switchyard
