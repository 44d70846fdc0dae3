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

absl::StatusOr<std::vector<HttpUrl>> page_urls(std::string_view flag,
                                               const std::vector<std::string>& texts) {
  constexpr size_t kMostPages = 256;  // a thread each
  if (texts.size() > kMostPages) {
    return failure(flag, ": ", texts.size(), " pages, limit ", kMostPages);
  }
  std::vector<HttpUrl> urls;
  for (const std::string& text : texts) {
    absl::StatusOr<HttpUrl> url = parse_http_url(text, "/metrics");
    if (!url.ok()) return failure(flag, ": ", why(url.status()));
    urls.push_back(*std::move(url));
  }
  return urls;
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
  command
      .add_option("--gpu-metrics", gpu_pages,
                  "HOST:PORT of a dcgm-exporter, read every second; once for each host")
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
  auto server_pages = page_urls("--metrics", flags.metrics_pages);
  if (!server_pages.ok()) return server_pages.status();
  reporter.server_pages_ = *std::move(server_pages);
  auto gpu_pages = page_urls("--gpu-metrics", flags.gpu_pages);
  if (!gpu_pages.ok()) return gpu_pages.status();
  reporter.gpu_pages_ = *std::move(gpu_pages);
  return reporter;
}

void LoadReporter::begin() {
  servers_ = std::make_unique<Scraper<ServerSeries>>(server_pages_, ScrapeOptions{});
  gpus_ = std::make_unique<Scraper<GpuSeries>>(gpu_pages_, ScrapeOptions{});
}

int LoadReporter::report(const LoadRun& run, Output output) {
  return write(make_report(run, context()), run.records, output);
}

int LoadReporter::report(const SweepResult& sweep, Output output) {
  const SweepPoint& shown = shown_point(sweep);
  return write(make_sweep_report(sweep, context()), shown.run.records, output);
}

ReportContext LoadReporter::context() {
  ReportContext context{
      .environment = environment_, .objectives = objectives_, .servers = {}, .gpus = {}};
  if (servers_) context.servers = servers_->finish();
  if (gpus_) context.gpus = gpus_->finish();
  servers_.reset();
  gpus_.reset();
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
