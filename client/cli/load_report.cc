#include "client/cli/load_report.h"

#include <fstream>
#include <functional>
#include <ostream>
#include <utility>

#include "client/load/failure.h"
#include "client/load/report_html.h"
#include "client/load/report_json.h"
#include "client/load/report_lines.h"
#include "client/load/report_table.h"

namespace switchyard {
namespace {

constexpr int kNotWritten = 1;

// Whether it could be written to the end. An empty path: nothing to do.
bool write_file(const std::string& path,
                const std::function<void(std::ostream&)>& write,
                Output output) {
  if (path.empty()) return true;
  std::ofstream out(path, std::ios::binary);
  if (out) write(out);
  out.close();
  if (!out.fail()) return true;
  output.messages << "error: " << path << ": cannot be written\n";
  return false;
}

}  // namespace

void LoadReportFlags::add_to(CLI::App& command) {
  constexpr char kGroup[] = "Report";
  command
      .add_option("--slo", objectives,
                  "What a good answer keeps: [CLASS:]ttft=500ms,tpot=50ms,itl=80ms,e2e=10s (any of "
                  "them; itl is for 99 of 100 gaps)")
      ->group(kGroup);
  command
      .add_option("--good", good_percent,
                  "Percent of each class's requests that have to be good for a sweep")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str()
      ->group(kGroup);
  command
      .add_option("--metrics", metrics_pages,
                  "HOST:PORT of a node's metrics, read every second; once for each node")
      ->group(kGroup);
  command.add_option("--json", json_file, "Write the report to this file, for `load compare`")
      ->group(kGroup);
  command.add_option("--html", html_file, "Write the report as one page with charts")
      ->group(kGroup);
  command.add_option("--csv", csv_file, "Write the figures as CSV")->group(kGroup);
  command
      .add_option("--requests-file", requests_file,
                  "Write every request with its arrivals, a line of JSON each")
      ->group(kGroup);
}

absl::StatusOr<LoadReporter> LoadReporter::make(const LoadReportFlags& flags,
                                                Environment environment) {
  LoadReporter reporter(flags, std::move(environment));
  for (const std::string& text : flags.objectives) {
    absl::Status status = add_objective(text, reporter.objectives_);
    if (!status.ok()) return failure("--slo: ", why(status));
  }
  reporter.objectives_.good_share = flags.good_percent / 100;
  constexpr size_t kMostPages = 256;  // a thread each
  if (flags.metrics_pages.size() > kMostPages) {
    return failure("--metrics: ", flags.metrics_pages.size(), " pages, limit ", kMostPages);
  }
  for (const std::string& text : flags.metrics_pages) {
    absl::StatusOr<HttpUrl> url = parse_http_url(text, "/metrics");
    if (!url.ok()) return failure("--metrics: ", why(url.status()));
    reporter.pages_.push_back(*std::move(url));
  }
  return reporter;
}

void LoadReporter::begin() {
  scraper_ = std::make_unique<Scraper<ServerSeries>>(pages_, ScrapeOptions{});
}

int LoadReporter::report(const LoadRun& run, Output output) {
  return write(make_report(run, context()), run.records, output);
}

int LoadReporter::report(const SweepResult& sweep, Output output) {
  const SweepPoint& shown = shown_point(sweep);
  return write(make_sweep_report(sweep, context()), shown.run.records, output);
}

ReportContext LoadReporter::context() {
  ReportContext context{.environment = environment_, .objectives = objectives_, .servers = {}};
  if (scraper_) context.servers = scraper_->finish();
  scraper_.reset();
  return context;
}

int LoadReporter::write(const Report& report,
                        const std::vector<RequestRecord>& records,
                        Output output) {
  write_table(report, output.answers);
  bool written = write_file(
      flags_.json_file, [&](std::ostream& out) { write_json(report_json(report), out); }, output);
  written &= write_file(
      flags_.html_file, [&](std::ostream& out) { out << report_html(report); }, output);
  written &= write_file(
      flags_.csv_file, [&](std::ostream& out) { write_csv(report, out); }, output);
  written &= write_file(
      flags_.requests_file, [&](std::ostream& out) { write_request_lines(records, out); }, output);
  if (report.refused()) return kExitClientLate;
  return written ? 0 : kNotWritten;
}

}  // namespace switchyard
