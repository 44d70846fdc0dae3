// What `switchyard load` is told of its report, and where that goes: objectives, the nodes' metrics
// pages, files, the table. Makes no load; client/load judges and writes.
#pragma once

#include <absl/status/statusor.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "client/cli/output.h"
#include "client/load/report.h"
#include "client/load/scrape.h"

namespace switchyard {

struct LoadReportFlags {
  std::vector<std::string> objectives;     // as add_objective() takes them
  double good_percent = 99;                // of a class's requests, for a sweep
  std::vector<std::string> metrics_pages;  // of the nodes
  std::vector<std::string> gpu_pages;      // of their GPUs' exporters
  std::string json_file;
  std::string html_file;
  std::string csv_file;
  std::string requests_file;  // a line of JSON for each request

  void add_to(CLI::App& command);
};

// Made of the flags before the load, so that what is wrong with them is said before it.
class LoadReporter {
 public:
  static absl::StatusOr<LoadReporter> make(const LoadReportFlags& flags, Environment environment);

  [[nodiscard]] const Objectives& objectives() const { return objectives_; }

  // Before the load: reads the metrics pages from now on; a page that cannot be had is no failure.
  void begin();
  // After it: the table to output.answers, the files to where the flags say. Exit code: 0, 1 when a
  // file could not be written, kExitClientLate when there were no figures.
  int report(const LoadRun& run, Output output);
  int report(const SweepResult& sweep, Output output);

 private:
  LoadReporter(const LoadReportFlags& flags, Environment environment)
      : flags_(flags), environment_(std::move(environment)) {}

  ReportContext context();
  int write(const Report& report, const std::vector<RequestRecord>& records, Output output);

  LoadReportFlags flags_;
  Environment environment_;
  Objectives objectives_;
  std::vector<HttpUrl> server_pages_;
  std::vector<HttpUrl> gpu_pages_;
  // From begin() to report().
  std::unique_ptr<Scraper<ServerSeries>> servers_;
  std::unique_ptr<Scraper<GpuSeries>> gpus_;
};

}  // namespace switchyard
