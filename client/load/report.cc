#include "client/load/report.h"

#include <algorithm>
#include <utility>

#include "client/load/format.h"

namespace switchyard {
namespace {

long long count_of(int64_t value) { return static_cast<long long>(value); }

std::string refusal_of(const Lateness& lateness) {
  if (lateness.tolerable()) return {};
  const double share =
      static_cast<double>(lateness.late_sends) / static_cast<double>(lateness.sends);
  return format(
      "no figures: the client itself was late. %lld of %lld sends (%.2f %%) left more than %.0f ms "
      "after they were meant to, %.0f %% is tolerated; the worst by %.0f ms. The load that was "
      "asked for was not made: ask for less, or give the client more cores.",
      count_of(lateness.late_sends), count_of(lateness.sends), share * 100, Lateness::kLateNs / 1e6,
      Lateness::kTolerableShare * 100, static_cast<double>(lateness.worst_ns) / 1e6);
}

void warn_of_counts(const Figures& figures, std::vector<std::string>& warnings) {
  const TokenFigures& tokens = figures.tokens;
  if (tokens.disagreeing > 0) {
    warnings.push_back(format(
        "token counts disagree: in %lld answers the tokens that arrived are not those of Usage",
        count_of(tokens.disagreeing)));
  }
  if (tokens.without_usage > 0) {
    warnings.push_back(
        format("%lld completed answers came without Usage: prompt and cached "
               "tokens leave them out",
               count_of(tokens.without_usage)));
  }
  const Outcomes& outcomes = figures.outcomes;
  if (outcomes.failed + outcomes.broken > 0) {
    warnings.push_back(
        format("%lld of %lld requests failed (%.2f %%); latencies are of the completed ones only",
               count_of(outcomes.failed + outcomes.broken), count_of(outcomes.asked),
               outcomes.error_share() * 100));
  }
  if (outcomes.cut > 0) {
    warnings.push_back(
        format("%lld requests were cut off by the end of the run: the slowest are "
               "missing from the latencies",
               count_of(outcomes.cut)));
  }
  // A percentile with nothing beyond it is the greatest value by another name.
  const auto completed_count = static_cast<double>(outcomes.completed);
  for (const Percentile& percentile : kPercentiles) {
    if (completed_count * (1 - percentile.share) >= 1 || outcomes.completed == 0) continue;
    warnings.push_back(
        format("%lld completed requests are too few for %s and what is above: these "
               "are the slowest request",
               count_of(outcomes.completed), percentile.title));
    break;
  }
}

void warn_of_run(const RunFacts& facts, std::vector<std::string>& warnings) {
  if (facts.stop_reason != StopReason::kCount && facts.stop_reason != StopReason::kDuration) {
    warnings.push_back("the run was ended early: " + facts.stop_detail);
  }
  if (facts.held_back > 0) {
    warnings.push_back(
        format("%lld sends waited for the limit of %d requests in flight; their "
               "latencies count from when they were meant",
               count_of(facts.held_back), facts.max_in_flight));
  }
  if (facts.unsent_turns > 0) {
    warnings.push_back(
        format("%lld turns of conversations were never sent: the turn before was "
               "not over when the run was",
               count_of(facts.unsent_turns)));
  }
  if (!facts.greedy) return;
  const int64_t diverged = count_diverged(*facts.greedy);
  if (diverged > 0) {
    warnings.push_back(format("%lld of %lld greedy answers were others under load than alone",
                              count_of(diverged), count_of(std::ssize(*facts.greedy))));
  }
}

template <typename Pages>
void warn_of_pages(const Pages& pages, std::vector<std::string>& warnings) {
  if (pages.failures == 0 || pages.first_failure.empty()) return;
  warnings.push_back(
      format("%lld of %lld pages of %s could not be had; the first: ", count_of(pages.failures),
             count_of(pages.scrapes), pages.target.c_str()) +
      pages.first_failure);
}

void warn_of_servers(const std::vector<ServerView>& servers, std::vector<std::string>& warnings) {
  for (const ServerView& server : servers) {
    if (server.restarted) {
      warnings.push_back("counters of " + server.target +
                         " fell during the run: it was restarted, its own view is left out");
    }
    warn_of_pages(server, warnings);
  }
}

}  // namespace

Report make_report(const LoadRun& run, ReportContext context) {
  Report report;
  report.environment = std::move(context.environment);
  report.objectives = std::move(context.objectives);
  report.facts = run.facts;
  report.refusal = refusal_of(run.facts.lateness);
  warn_of_run(report.facts, report.warnings);
  if (report.refused()) return report;
  report.figures = figures_of(run, report.objectives);
  report.timeline = timeline_of(run);
  report.servers = server_views(std::move(context.servers), run);
  report.gpus = gpu_views(std::move(context.gpus), run);
  warn_of_counts(report.figures, report.warnings);
  warn_of_servers(report.servers, report.warnings);
  for (const GpuPages& pages : report.gpus.pages) warn_of_pages(pages, report.warnings);
  warn_of_gpus(report.gpus, report.warnings);
  return report;
}

const SweepPoint& shown_point(const SweepResult& sweep) {
  return *std::ranges::min_element(sweep.points, {}, [&](const SweepPoint& point) {
    const bool best = point.verdict.met && point.rate == sweep.best_rate;
    return std::pair(!best, point.rate);
  });
}

Report make_sweep_report(const SweepResult& sweep, ReportContext context) {
  SweepSummary summary;
  summary.best_rate = sweep.best_rate;
  summary.at_the_limit = sweep.at_the_limit;
  for (const SweepPoint& point : sweep.points) {
    SweepLine& line = summary.lines.emplace_back();
    line.rate = point.rate;
    line.verdict = point.verdict;
    line.client_late = !point.run.facts.lateness.tolerable();
    if (!line.client_late) line.figures = figures_of(point.run, context.objectives);
  }
  std::ranges::stable_sort(summary.lines, {}, &SweepLine::rate);
  Report report = make_report(shown_point(sweep).run, std::move(context));
  if (sweep.at_the_limit) {
    report.warnings.push_back(
        "the highest rate of the sweep met its objectives: the limit of the "
        "nodes lies above");
  }
  report.sweep = std::move(summary);
  return report;
}

}  // namespace switchyard
