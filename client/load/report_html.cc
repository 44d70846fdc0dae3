#include "client/load/report_html.h"

#include <ctime>
#include <nlohmann/json.hpp>
#include <vector>

#include "client/load/figure_text.h"
#include "client/load/html_style.h"
#include "client/load/html_table.h"
#include "client/load/report_charts.h"
#include "client/load/report_gpus.h"
#include "client/load/svg_chart.h"

namespace switchyard {
namespace {

std::string utc(int64_t unix_ns) {
  const time_t seconds = unix_ns / 1'000'000'000;
  tm parts{};
  char text[40];
  if (gmtime_r(&seconds, &parts) == nullptr) return "";
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text;
}

std::string heading(std::string_view text) { return "<h2>" + std::string(text) + "</h2>\n"; }

std::string tile(std::string_view name, std::string_view value, std::string_view below) {
  return "<div class=\"tile\"><span>" + escape_html(name) + "</span><b>" + escape_html(value) +
         "</b><span>" + escape_html(below) + "</span></div>\n";
}

std::string tiles(const Figures& figures) {
  const auto latency = [](std::string_view name, const Distribution& d) {
    if (d.count == 0) return std::string();
    return tile(name, short_number(d.percentiles[0].value) + " ms",
                "p99 " + short_number(d.percentiles[3].value) + " ms");
  };
  const auto rate = [](std::string_view name, const Estimate& e) {
    return tile(name, short_number(e.value), e.high > e.low ? interval_text(e) : "");
  };
  const Outcomes& outcomes = figures.outcomes;
  return "<div class=\"tiles\">\n" +
         rate("output tokens/s", figures.rates.output_tokens_per_second) +
         rate("requests/s", figures.rates.requests_per_second) +
         latency("TTFT p50", figures.latencies.ttft_ms) +
         latency("ITL p50", figures.latencies.itl_ms) +
         latency("E2E p50", figures.latencies.e2e_ms) +
         (figures.goodput ? tile("good", percent(figures.goodput->share),
                                 short_number(figures.goodput->per_second.value) + " requests/s")
                          : std::string()) +
         tile("failed", percent(outcomes.error_share()),
              with_thousands(outcomes.failed + outcomes.broken) + " of " +
                  with_thousands(outcomes.asked)) +
         "</div>\n";
}

std::vector<std::string> percentile_heads(std::string_view first) {
  std::vector<std::string> heads = {std::string(first), "count", "mean"};
  for (const Percentile& percentile : kPercentiles) heads.emplace_back(percentile.title);
  heads.emplace_back("max");
  return heads;
}

void add_distribution(std::string title, const Distribution& d, HtmlTable& table) {
  if (d.count == 0) return;
  std::vector<HtmlCell> cells = {{.text = std::move(title), .small = "", .kind = ""},
                                 {.text = with_thousands(d.count), .small = "", .kind = ""}};
  const auto add = [&cells](const Estimate& e) {
    cells.push_back({.text = short_number(e.value), .small = interval_text(e), .kind = ""});
  };
  add(d.mean);
  for (const Estimate& percentile : d.percentiles) add(percentile);
  cells.push_back({.text = short_number(d.max), .small = "", .kind = ""});
  table.row(cells);
}

HtmlCell text(std::string value) { return {.text = std::move(value), .small = "", .kind = "text"}; }
HtmlCell number(std::string value) { return {.text = std::move(value), .small = "", .kind = ""}; }

std::string latency_section(const Figures& figures) {
  HtmlTable table(percentile_heads("ms"));
  for (const NamedDistribution& one : named_distributions(figures)) {
    add_distribution(std::string(one.title), one.values, table);
  }
  std::string html =
      heading("Latency") + draw(latency_charts(figures)) +
      "<p class=\"note\">Completed requests, from the moment at which each was meant "
      "to be sent. Small figures: 95 % intervals.</p>\n" +
      table.html();
  if (figures.classes.size() < 2) return html;
  HtmlTable classes(percentile_heads("class, ms"));
  for (const ClassFigures& one : figures.classes) {
    for (const NamedDistribution& values : named_distributions(one.latencies)) {
      add_distribution(one.name + ": " + std::string(values.title), values.values, classes);
    }
  }
  return html + "<h3>By class</h3>\n" + classes.html();
}

std::string goodput_section(const Report& report) {
  if (!report.figures.goodput) return "";
  HtmlTable table({"class", "objectives", "good", "good requests/s", "good tokens/s"});
  const auto add = [&table](const std::string& name, const std::string& slo, const Goodput& good) {
    table.row({text(name),
               text(slo),
               {.text = percent(good.share), .small = "", .kind = "", .bar = good.share},
               {.text = short_number(good.per_second.value),
                .small = interval_text(good.per_second),
                .kind = ""},
               number(short_number(good.tokens_per_second.value))});
  };
  for (const ClassFigures& one : report.figures.classes) {
    if (one.goodput) add(one.name, slo_text(one.goodput->slo), *one.goodput);
  }
  if (report.figures.classes.size() > 1) {
    add("all", "each its class's", *report.figures.goodput);
  }
  return heading("Goodput") +
         "<p class=\"note\">Share of the requests asked for that completed and kept all "
         "objectives; "
         "a failed one is not good. ITL: 99 of 100 gaps of the answer.</p>\n" +
         table.html();
}

std::string node_section(const Figures& figures) {
  HtmlTable table({"node", "asked", "completed", "failed", "output tokens", "cached prompt",
                   "TTFT p50, ms", "TTFT p99, ms"});
  for (const NodeFigures& node : figures.nodes) {
    const double share =
        figures.outcomes.asked > 0
            ? static_cast<double>(node.outcomes.asked) / static_cast<double>(figures.outcomes.asked)
            : 0;
    table.row({text(node.name),
               {.text = with_thousands(node.outcomes.asked),
                .small = percent(share),
                .kind = "",
                .bar = share},
               number(with_thousands(node.outcomes.completed)),
               number(with_thousands(node.outcomes.failed + node.outcomes.broken)),
               number(with_thousands(node.output_tokens)),
               number(percent(node.cached_share)),
               number(short_number(node.ttft_p50_ms)),
               number(short_number(node.ttft_p99_ms))});
  }
  return table.empty() ? "" : heading("Nodes") + table.html();
}

void add_server(std::string title, const ServerDistribution& d, HtmlTable& table) {
  if (d.count == 0) return;
  std::vector<HtmlCell> cells = {text(std::move(title)), number(with_thousands(d.count)),
                                 number(short_number(d.mean_ms))};
  for (const Estimate& e : d.percentiles_ms) {
    cells.push_back({.text = (e.high > 1e300 ? "over " : "") + short_number(e.value),
                     .small = interval_text(e),
                     .kind = ""});
  }
  cells.push_back(number(""));
  table.row(cells);
}

std::string server_section(const Report& report) {
  HtmlTable table(percentile_heads("ms"));
  add_distribution("TTFT as callers saw it", report.figures.latencies.ttft_ms, table);
  add_distribution("TTFT in answers' usage", report.figures.node_ttft_ms, table);
  add_distribution("ITL as callers saw it", report.figures.latencies.itl_ms, table);
  bool any = false;
  for (const ServerView& server : report.servers) {
    if (server.from_seconds == server.to_seconds) continue;
    any = true;
    add_server(server.target + ": TTFT", server.ttft, table);
    add_server(server.target + ": ITL", server.itl, table);
    add_server(server.target + ": queue", server.queue, table);
    add_server(server.target + ": E2E", server.e2e, table);
  }
  if (!any) return "";
  HtmlTable counts({"node", "pages", "generated tokens", "cached prompt tokens", "preemptions",
                    "rejected", "most running", "most waiting", "most cache in use"});
  const auto known = [](double value) { return number(value < 0 ? "-" : short_number(value)); };
  for (const ServerView& server : report.servers) {
    counts.row({{.text = server.target, .small = server.version, .kind = "text"},
                {.text = with_thousands(server.scrapes),
                 .small = server.failures > 0 ? with_thousands(server.failures) + " failed" : "",
                 .kind = ""},
                known(server.generation_tokens),
                known(server.cached_prompt_tokens),
                known(server.preemptions),
                known(server.rejected),
                known(server.peak_running),
                known(server.peak_waiting),
                number(server.peak_cache_usage < 0 ? "-" : percent(server.peak_cache_usage))});
  }
  return heading("The nodes' own view") +
         "<p class=\"note\">By their metrics, pages before the measured requests against pages "
         "after them: with what others asked meanwhile, counted from arrival at the node and "
         "interpolated between the bounds of a bucket (small figures).</p>\n" +
         table.html() + "<h3>Counted meanwhile</h3>\n" + counts.html();
}

std::string error_section(const Figures& figures) {
  std::string html;
  if (!figures.errors.empty()) {
    HtmlTable table({"code", "reason", "requests", "with RetryInfo", "for example"});
    for (const ErrorFigures& error : figures.errors) {
      table.row({text(error.code == 0 ? "OK, but no answer" : code_name(error.code)),
                 text(error.reason), number(with_thousands(error.count)),
                 number(with_thousands(error.with_hint)), text(error.example)});
    }
    html += heading("Errors") + table.html();
  }
  if (!figures.faults.empty()) {
    HtmlTable table({"fault on purpose", "requests", "ended"});
    for (const FaultFigures& fault : figures.faults) {
      std::string ends;
      for (const auto& [code, count] : fault.codes) {
        ends += (ends.empty() ? "" : ", ") + with_thousands(count) + " " + code_name(code);
      }
      table.row({text(std::string(fault_name(fault.fault))), number(with_thousands(fault.asked)),
                 text(ends)});
    }
    html += heading("Faults on purpose") + table.html();
  }
  return html;
}

std::string event_section(const Figures& figures) {
  HtmlTable table({"at", "done to the nodes", "requests that ended from then on"});
  for (const EventFigures& one : figures.events) {
    const EventRecord& event = one.event;
    table.row({number(short_number(static_cast<double>(event.at_ns()) / 1e9) + " s"),
               {.text = event.what, .small = event.outcome, .kind = "text"},
               text(event.began_ns >= 0 ? outcomes_text(one.outcomes) : "")});
  }
  return table.empty() ? "" : heading("Done to the nodes") + table.html();
}

std::string sweep_section(const SweepSummary& sweep) {
  HtmlTable table({"rate asked for", "met", "because", "good", "output tokens/s", "TTFT p99, ms",
                   "TPOT p99, ms", "E2E p99, ms"});
  const auto p99 = [](const Distribution& d) {
    return number(d.count > 0 ? short_number(d.percentiles[3].value) : "-");
  };
  for (const SweepLine& line : sweep.lines) {
    const Figures& figures = line.figures;
    table.row({number(short_number(line.rate)),
               {.text = line.verdict.met ? "yes" : "no",
                .small = "",
                .kind = line.verdict.met ? "yes" : "no"},
               text(line.verdict.why),
               number(figures.goodput ? percent(figures.goodput->share) : "-"),
               number(short_number(figures.rates.output_tokens_per_second.value)),
               p99(figures.latencies.ttft_ms),
               p99(figures.latencies.tpot_ms),
               p99(figures.latencies.e2e_ms)});
  }
  return heading("Sweep") + draw(sweep_charts(sweep)) +
         "<p class=\"note\">The rest of this page is the run at the highest rate that met the "
         "objectives, or at the lowest where none did.</p>\n" +
         table.html();
}

std::string circumstances(const Report& report) {
  const Environment& environment = report.environment;
  std::string html = heading("How it was measured") + "<div class=\"card\"><dl>\n";
  const auto add = [&html](std::string_view name, std::string_view value) {
    if (value.empty()) return;
    html += "<dt>" + escape_html(name) + "</dt><dd>" + escape_html(value) + "</dd>\n";
  };
  for (const SummaryLine& line : summary_lines(report)) add(line.name, line.text);
  add("started", utc(report.facts.start_unix_ns));
  add("command", environment.command_line);
  const std::string commit = report.facts.commit.empty() ? "" : " (" + report.facts.commit + ")";
  add("client", "switchyard " + report.facts.version + commit + " on " + environment.host + ", " +
                    environment.system + ", " + std::to_string(environment.cores) + " cores" +
                    (environment.processor.empty() ? "" : " of " + environment.processor));
  std::string targets;
  for (const std::string& target : report.facts.targets) {
    targets += (targets.empty() ? "" : ", ") + target;
  }
  targets += ", " + std::to_string(report.facts.channels) + " channels each";
  if (report.facts.targets.size() > 1) targets += ", by " + report.facts.balance;
  add("nodes", targets);
  html += "</dl><details><summary>The load, as it can be run again</summary><pre>";
  // Line by line: escape_html() leaves no newline.
  const auto spec = nlohmann::ordered_json::parse(report.facts.spec_json, nullptr, false);
  std::string lines = spec.is_discarded()
                          ? report.facts.spec_json
                          : spec.dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
  for (size_t from = 0; from < lines.size();) {
    const size_t to = std::min(lines.find('\n', from), lines.size());
    html += escape_html(std::string_view(lines).substr(from, to - from)) + "\n";
    from = to + 1;
  }
  return html + "</pre></details></div>\n";
}

std::string warnings(const Report& report) {
  std::string html;
  if (report.refused()) {
    html += "<div class=\"box refused\" role=\"alert\">" + escape_html(report.refusal) + "</div>\n";
  }
  if (report.warnings.empty()) return html;
  html += "<div class=\"box\"><b>To be read with the figures</b><ul>\n";
  for (const std::string& warning : report.warnings) {
    html += "<li>" + escape_html(warning) + "</li>\n";
  }
  return html + "</ul></div>\n";
}

}  // namespace

std::string report_html(const Report& report) {
  const std::string subject = subject_text(report.facts);
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      // What the page may load, should anything in it ever want to: nothing.
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'; script-src 'unsafe-inline'\">\n<title>Load report: " +
      escape_html(subject) + "</title>\n<style>" + std::string(kReportStyle) +
      "</style></head><body><main>\n<h1>Load report</h1>\n<p class=\"sub\">" +
      escape_html(subject + ", " + short_number(static_cast<double>(report.facts.wall_ns) / 1e9) +
                  " s from " + utc(report.facts.start_unix_ns) + ", seed " +
                  std::to_string(report.facts.seed)) +
      "</p>\n" + warnings(report);
  if (!report.refused()) {
    html += tiles(report.figures);
    if (report.sweep) html += sweep_section(*report.sweep);
    html += latency_section(report.figures) + heading("Over time") + draw(time_charts(report)) +
            event_section(report.figures) + goodput_section(report) +
            error_section(report.figures) + node_section(report.figures) + server_section(report) +
            gpu_section(report);
  }
  html += circumstances(report) + "</main>\n";
  if (!report.refused()) html += "<script>" + std::string(kReportScript) + "</script>\n";
  return html + "</body></html>\n";
}

}  // namespace switchyard
