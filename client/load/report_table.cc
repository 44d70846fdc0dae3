#include "client/load/report_table.h"

#include <algorithm>
#include <iomanip>
#include <ostream>
#include <string>
#include <vector>

#include "client/load/figure_text.h"
#include "client/load/report_gpus.h"

namespace switchyard {
namespace {

constexpr int kNameWidth = 14;
constexpr int kCellWidth = 10;

using Cells = std::vector<std::string>;

void write_row(std::string_view name, const Cells& cells, std::ostream& out) {
  out << std::left << std::setw(kNameWidth) << name << std::right;
  for (const std::string& cell : cells) out << ' ' << std::setw(kCellWidth) << cell;
  out << '\n';
}

Cells heads(std::string_view first) {
  Cells cells = {std::string(first), "mean"};
  for (const Percentile& percentile : kPercentiles) cells.emplace_back(percentile.title);
  cells.emplace_back("max");
  return cells;
}

// "12.1-12.9": in a cell, where "to" has no room.
std::string range(const Estimate& estimate) {
  return short_number(estimate.low) + "-" + short_number(estimate.high);
}

void write_distribution(std::string_view title, const Distribution& d, std::ostream& out) {
  if (d.count == 0) return;
  Cells values = {with_thousands(d.count), short_number(d.mean.value)};
  Cells intervals = {"", range(d.mean)};
  for (const Estimate& percentile : d.percentiles) {
    values.push_back(short_number(percentile.value));
    intervals.push_back(range(percentile));
  }
  values.push_back(short_number(d.max));
  write_row(title, values, out);
  write_row("", intervals, out);
}

void write_server(std::string_view title, const ServerDistribution& d, std::ostream& out) {
  if (d.count == 0) return;
  Cells values = {with_thousands(d.count), short_number(d.mean_ms)};
  for (const Estimate& percentile : d.percentiles_ms) {
    values.push_back((percentile.high > 1e300 ? ">" : "") + short_number(percentile.value));
  }
  write_row(title, values, out);
}

void write_latencies(const Report& report, std::ostream& out) {
  out << "\nmilliseconds from the intended send, 95 % intervals below\n";
  write_row("", heads("count"), out);
  for (const NamedDistribution& one : named_distributions(report.figures)) {
    write_distribution(one.title, one.values, out);
  }
  if (report.figures.classes.size() > 1) {
    for (const ClassFigures& one : report.figures.classes) {
      out << "class " << one_line(one.name) << ": " << one.outcomes.completed << " completed of "
          << one.outcomes.asked;
      if (one.goodput) {
        out << ", " << percent(one.goodput->share) << " good (" << slo_text(one.goodput->slo)
            << ")";
      }
      out << '\n';
      for (const NamedDistribution& values : named_distributions(one.latencies)) {
        write_distribution("  " + std::string(values.title), values.values, out);
      }
    }
  }
  for (const ServerView& server : report.servers) {
    if (server.from_seconds == server.to_seconds) continue;
    // Of several nodes the sum: each by itself is in the files.
    if (report.servers.size() > 1 && &server != &report.servers.back()) continue;
    out << "by the metrics of " << one_line(server.target) << ", interpolated in their buckets\n";
    write_server("  TTFT", server.ttft, out);
    write_server("  ITL", server.itl, out);
    write_server("  queue", server.queue, out);
    write_server("  E2E", server.e2e, out);
  }
}

void write_nodes(const std::vector<NodeFigures>& nodes, std::ostream& out) {
  if (nodes.size() < 2) return;
  out << '\n';
  write_row("node", {"asked", "completed", "failed", "tokens", "cached", "TTFT p50", "TTFT p99"},
            out);
  for (const NodeFigures& node : nodes) {
    write_row(one_line(node.name),
              {with_thousands(node.outcomes.asked), with_thousands(node.outcomes.completed),
               with_thousands(node.outcomes.failed + node.outcomes.broken),
               with_thousands(node.output_tokens), percent(node.cached_share),
               short_number(node.ttft_p50_ms), short_number(node.ttft_p99_ms)},
              out);
  }
}

void write_errors(const Figures& figures, std::ostream& out) {
  if (!figures.errors.empty()) out << "\nerrors\n";
  for (const ErrorFigures& error : figures.errors) {
    out << "  " << with_thousands(error.count) << " x "
        << (error.code == 0 ? "OK, but no answer" : code_name(error.code));
    if (!error.reason.empty()) out << ", " << one_line(error.reason);
    if (error.with_hint > 0) out << ", " << with_thousands(error.with_hint) << " with RetryInfo";
    if (!error.example.empty()) out << ": " << one_line(error.example);
    out << '\n';
  }
  if (!figures.faults.empty()) out << "\nfaults on purpose\n";
  for (const FaultFigures& fault : figures.faults) {
    out << "  " << fault_name(fault.fault) << ": " << with_thousands(fault.asked) << " asked";
    for (const auto& [code, count] : fault.codes) {
      out << ", " << with_thousands(count) << " x " << code_name(code);
    }
    out << '\n';
  }
}

void write_events(const Figures& figures, std::ostream& out) {
  if (!figures.events.empty())
    out << "\ndone to the nodes, and the requests that ended from then on\n";
  for (const EventFigures& one : figures.events) {
    const EventRecord& event = one.event;
    out << "  " << short_number(static_cast<double>(event.at_ns()) / 1e9) << " s  "
        << one_line(event.what) << ": " << one_line(event.outcome) << '\n';
    if (event.began_ns >= 0) out << "      " << outcomes_text(one.outcomes) << '\n';
  }
}

void write_sweep(const SweepSummary& sweep, std::ostream& out) {
  out << '\n';
  write_row("rate, /s",
            {"met", "good", "good/s", "tokens/s", "TTFT p50", "TTFT p99", "TPOT p99", "E2E p99"},
            out);
  const auto at = [](const Distribution& d, size_t i) {
    return d.count == 0 ? std::string("-") : short_number(d.percentiles[i].value);
  };
  for (const SweepLine& line : sweep.lines) {
    if (line.client_late) {
      write_row(short_number(line.rate), {"client late"}, out);
      continue;
    }
    const Figures& figures = line.figures;
    const bool judged = figures.goodput.has_value();
    write_row(short_number(line.rate),
              {line.verdict.met ? "yes" : "no", judged ? percent(figures.goodput->share) : "-",
               judged ? short_number(figures.goodput->per_second.value) : "-",
               short_number(figures.rates.output_tokens_per_second.value),
               at(figures.latencies.ttft_ms, 0), at(figures.latencies.ttft_ms, 3),
               at(figures.latencies.tpot_ms, 3), at(figures.latencies.e2e_ms, 3)},
              out);
  }
  if (sweep.best_rate > 0) {
    out << "the highest rate that met the objectives: " << short_number(sweep.best_rate)
        << " requests/s" << (sweep.at_the_limit ? ", the highest that was tried" : "") << '\n';
  } else {
    out << "no rate met the objectives\n";
  }
}

}  // namespace

void write_table(const Report& report, std::ostream& out) {
  out << "switchyard load: " << one_line(subject_text(report.facts)) << ", "
      << short_number(static_cast<double>(report.facts.wall_ns) / 1e9) << " s, seed "
      << report.facts.seed << '\n';
  for (const SummaryLine& line : summary_lines(report)) {
    out << std::left << std::setw(kNameWidth) << line.name << ' ' << line.text << '\n';
  }
  if (!report.refused()) {
    write_latencies(report, out);
    write_nodes(report.figures.nodes, out);
    write_gpus(report.gpus, out);
    write_errors(report.figures, out);
    write_events(report.figures, out);
    if (report.sweep) write_sweep(*report.sweep, out);
  }
  if (!report.warnings.empty() || report.refused()) out << '\n';
  for (const std::string& warning : report.warnings)
    out << "warning: " << one_line(warning) << '\n';
  if (report.refused()) out << "error: " << report.refusal << '\n';
}

}  // namespace switchyard
