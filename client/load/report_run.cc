#include "client/load/report_run.h"

#include <iomanip>
#include <ostream>

#include "client/load/run_book.h"
#include "client/load/words.h"

namespace switchyard {
namespace {

struct Totals {
  int64_t measured = 0;
  int64_t as_meant = 0;
  int64_t tokens = 0;
};

Totals add_up(const LoadRun& run) {
  Totals totals;
  for (const RequestRecord& record : run.records) {
    if (!record.measured) continue;
    ++totals.measured;
    if (ended_as_meant(record)) ++totals.as_meant;
    for (const TokenArrival& arrival : record.arrivals) totals.tokens += arrival.tokens;
  }
  return totals;
}

}  // namespace

int report_run(const LoadRun& run, std::ostream& out) {
  const RunFacts& facts = run.facts;
  const Totals totals = add_up(run);
  out << run.records.size() << " requests in " << std::fixed << std::setprecision(1)
      << static_cast<double>(facts.wall_ns) * 1e-9 << " s, " << totals.measured << " measured, "
      << totals.measured - totals.as_meant << " failed, " << totals.tokens << " answer tokens\n";
  if (!facts.stop_detail.empty()) out << "stopped early: " << facts.stop_detail << '\n';
  if (facts.held_back > 0) {
    out << facts.held_back << " sends waited for the limit of " << facts.max_in_flight
        << " requests in flight\n";
  }
  if (facts.greedy) {
    int64_t diverged = 0;
    for (const GreedyComparison& pair : *facts.greedy) diverged += pair.diverged_at >= 0;
    out << diverged << " of " << facts.greedy->size()
        << " greedy answers differ from those asked alone\n";
  }
  const auto milliseconds = [](int64_t ns) { return static_cast<double>(ns) * 1e-6; };
  out << "sends were late by " << std::setprecision(2) << milliseconds(facts.lateness.median_ns)
      << " ms at the median, " << milliseconds(facts.lateness.p99_ns) << " at p99, "
      << milliseconds(facts.lateness.worst_ns) << " at worst\n";
  if (facts.lateness.tolerable()) return 0;
  out << "the client was late: " << facts.lateness.late_sends << " of " << facts.lateness.sends
      << " sends by more than 10 ms; the figures mean nothing\n";
  return 1;
}

int report_sweep(const SweepResult& sweep, std::ostream& out) {
  for (const SweepPoint& point : sweep.points) {
    out << point.rate << " requests/s: " << (point.verdict.met ? "met" : "not met") << ", "
        << point.verdict.why << '\n';
  }
  out << "best rate: " << sweep.best_rate << (sweep.at_the_limit ? " or more" : "") << '\n';
  return 0;
}

SweepVerdict judge_run(const LoadRun& run) {
  if (!run.facts.lateness.tolerable()) return {.met = false, .why = "the client was late"};
  const Totals totals = add_up(run);
  return {.met = totals.as_meant == totals.measured && totals.measured > 0,
          .why = words(totals.measured - totals.as_meant, " of ", totals.measured, " failed")};
}

}  // namespace switchyard
