#include "client/cli/load_compare.h"

#include <iostream>

#include "client/load/compare.h"
#include "client/load/failure.h"

namespace switchyard {
namespace {

constexpr int kRegressed = 1;
constexpr int kNotComparable = 2;

}  // namespace

void LoadCompareFlags::add_to(CLI::App& command) {
  command.add_option("base", base, "The report to hold against, as --json of `load` wrote it")
      ->required();
  command.add_option("new", now, "The report that is held against it")->required();
  command
      .add_option("--max-regression", max_regression_percent,
                  "By how many percent of the base a figure may be worse (5 or 5%)")
      ->transform([](std::string text) {
        if (text.ends_with('%')) text.pop_back();
        return text;
      })
      ->check(CLI::Range(0.0, 1000.0))
      ->capture_default_str();
}

CLI::App* add_compare_to(CLI::App& load, LoadCompareFlags& flags) {
  CLI::App* compare =
      load.add_subcommand("compare", "What became worse from one report to another");
  flags.add_to(*compare);
  return compare;
}

int compare_loads(const LoadCompareFlags& flags, Output output) {
  const auto complain = [&output](const absl::Status& status) {
    output.messages << "error: " << without_controls(why(status)) << '\n';
    return kNotComparable;
  };
  const auto base = read_report(flags.base);
  if (!base.ok()) return complain(base.status());
  const auto now = read_report(flags.now);
  if (!now.ok()) return complain(now.status());
  const auto changes = compare_reports(*base, *now);
  if (!changes.ok()) return complain(changes.status());
  const bool good = write_changes(*changes, flags.max_regression_percent / 100, output.answers);
  return good ? 0 : kRegressed;
}

int run_load_compare(const LoadCompareFlags& flags) {
  return compare_loads(flags, {std::cout, std::cerr});
}

}  // namespace switchyard
