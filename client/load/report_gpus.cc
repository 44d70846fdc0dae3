#include "client/load/report_gpus.h"

#include <algorithm>
#include <iomanip>
#include <ostream>
#include <vector>

#include "client/load/figure_text.h"
#include "client/load/html_table.h"
#include "client/load/json_number.h"
#include "client/load/report_charts.h"

namespace switchyard {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMibOfGib = 1024;

bool is_memory(GpuGauge gauge) { return gauge == GpuGauge::kMemoryUsed; }
bool is_share(GpuGauge gauge) { return gauge < GpuGauge::kMemoryUsed; }

std::string value_text(GpuGauge gauge, double value) {
  if (value < 0) return "-";
  if (is_share(gauge)) return percent(value);
  return short_number(is_memory(gauge) ? value / kMibOfGib : value);
}

std::string errors_text(const GpuView& gpu) {
  if (!gpu.xid_errors) return "-";
  std::string text;
  for (const int64_t error : *gpu.xid_errors) {
    text += (text.empty() ? "" : ", ") + std::to_string(error);
  }
  return text.empty() ? "none" : text;
}

// Of the terminal's table: those of which something is known are shown.
struct Column {
  const char* head;
  GpuGauge gauge;
  double GpuFigure::*figure;
};
constexpr Column kColumns[] = {{"util", GpuGauge::kUtilisation, &GpuFigure::mean},
                               {"engine", GpuGauge::kEngineActive, &GpuFigure::mean},
                               {"SM", GpuGauge::kSmActive, &GpuFigure::mean},
                               {"tensor", GpuGauge::kTensorActive, &GpuFigure::mean},
                               {"DRAM", GpuGauge::kDramActive, &GpuFigure::mean},
                               {"GiB max", GpuGauge::kMemoryUsed, &GpuFigure::peak},
                               {"W", GpuGauge::kPower, &GpuFigure::mean},
                               {"W max", GpuGauge::kPower, &GpuFigure::peak},
                               {"C max", GpuGauge::kTemperature, &GpuFigure::peak},
                               {"SM MHz", GpuGauge::kSmClock, &GpuFigure::mean}};

// Of the page, in words.
std::string head_of(GpuGauge gauge) {
  switch (gauge) {
    case GpuGauge::kUtilisation:
      return "utilisation";
    case GpuGauge::kEngineActive:
      return "engines";
    case GpuGauge::kSmActive:
      return "SMs";
    case GpuGauge::kTensorActive:
      return "tensor cores";
    case GpuGauge::kDramActive:
      return "DRAM";
    case GpuGauge::kMemoryUsed:
      return "memory, GiB";
    case GpuGauge::kPower:
      return "power, W";
    case GpuGauge::kTemperature:
      return "°C";
    case GpuGauge::kSmClock:
      return "SM MHz";
    case GpuGauge::kMemoryFree:
    case GpuGauge::kMemoryReserved:
    case GpuGauge::kXid:
      break;
  }
  return "";
}

HtmlCell cell_of(const GpuView& gpu, GpuGauge gauge) {
  const GpuFigure& figure = gpu[gauge];
  HtmlCell cell{.text = value_text(gauge, figure.mean), .small = "", .kind = ""};
  if (figure.peak < 0) return cell;
  cell.small = "most " + value_text(gauge, figure.peak);
  if (is_share(gauge)) cell.bar = figure.mean;
  if (is_memory(gauge) && gpu.memory_total_mib > 0) {
    cell.small += " of " + value_text(gauge, gpu.memory_total_mib);
    cell.bar = figure.peak / gpu.memory_total_mib;
  }
  return cell;
}

std::string devices_table(const GpuViews& gpus) {
  std::vector<GpuGauge> gauges;
  std::vector<std::string> heads = {"GPU"};
  for (const GpuGaugeInfo& info : kShownGpuGauges) {
    if (!gpus.has(info.gauge)) continue;
    gauges.push_back(info.gauge);
    heads.push_back(head_of(info.gauge));
  }
  const bool any_joules = gpus.has(GpuGauge::kPower);
  if (any_joules) heads.emplace_back("kJ");
  heads.emplace_back("XID");
  HtmlTable table(heads);
  for (const GpuView& gpu : gpus.gpus) {
    std::string small = gpu.name.model;
    if (!gpu.name.pod.empty()) small += (small.empty() ? "" : ", ") + gpu.name.pod;
    std::vector<HtmlCell> cells = {{.text = gpu.title, .small = small, .kind = "text"}};
    for (const GpuGauge gauge : gauges) cells.push_back(cell_of(gpu, gauge));
    if (any_joules) {
      cells.push_back(
          {.text = gpu.joules < 0 ? "-" : short_number(gpu.joules / 1e3), .small = "", .kind = ""});
    }
    const bool failed = gpu.xid_errors && !gpu.xid_errors->empty();
    cells.push_back({.text = errors_text(gpu), .small = "", .kind = failed ? "no" : ""});
    table.row(cells);
  }
  return table.empty() ? "" : table.html();
}

std::string pages_table(const GpuViews& gpus) {
  HtmlTable table({"exporter", "pages", "with new values", "longest gap, s"});
  for (const GpuPages& pages : gpus.pages) {
    table.row({{.text = pages.target, .small = "", .kind = "text"},
               {.text = with_thousands(pages.scrapes),
                .small = pages.failures > 0 ? with_thousands(pages.failures) + " failed" : "",
                .kind = ""},
               {.text = with_thousands(pages.renewed),
                .small = "of " + with_thousands(pages.pages) + " measured",
                .kind = ""},
               {.text = short_number(pages.longest_gap_seconds), .small = "", .kind = ""}});
  }
  return table.html();
}

Json figure_json(const GpuFigure& figure) {
  if (figure.peak < 0) return nullptr;
  return {{"mean", json_number(figure.mean)}, {"peak", json_number(figure.peak)}};
}

Json device_json(const GpuView& gpu, const GpuPages& pages, const RunFacts& facts) {
  Json json = {{"target", pages.target},
               {"gpu", gpu.name.index},
               {"instance", gpu.name.instance},
               {"uuid", gpu.name.uuid},
               {"model", gpu.name.model},
               {"host", gpu.name.host},
               {"pod", gpu.name.pod},
               {"from_seconds", json_number(gpu.from_seconds)},
               {"to_seconds", json_number(gpu.to_seconds)}};
  for (const GpuGaugeInfo& info : kShownGpuGauges) {
    json[std::string(info.name)] = figure_json(gpu[info.gauge]);
  }
  json["memory_total_mib"] = json_known(gpu.memory_total_mib);
  json["joules"] = json_known(gpu.joules);
  json["xid_errors"] = gpu.xid_errors ? Json(*gpu.xid_errors) : Json();
  Json& samples = json["samples"] = Json::array();
  for (const GpuSample& sample : pages.samples) {
    Json& one = samples.emplace_back();
    one["at_seconds"] = json_number(seconds_into(facts, sample.unix_ns));
    for (const GpuGaugeInfo& info : kShownGpuGauges) {
      one[std::string(info.name)] = json_known(sample.value(gpu.place, info.gauge));
    }
  }
  return json;
}

Json energy_json(const GpuEnergy& energy) {
  return {{"from_seconds", json_number(energy.from_seconds)},
          {"to_seconds", json_number(energy.to_seconds)},
          {"gpus", energy.gpus},
          {"joules", json_number(energy.joules)},
          {"output_tokens", energy.output_tokens},
          {"tokens_per_joule", json_known(energy.tokens_per_joule)}};
}

}  // namespace

void write_gpus(const GpuViews& gpus, std::ostream& out) {
  constexpr int kNameWidth = 14;
  constexpr int kCellWidth = 10;
  std::vector<Column> columns;
  for (const Column& column : kColumns) {
    const bool is_repeated = column.gauge == GpuGauge::kEngineActive &&
                             gpus.has(GpuGauge::kUtilisation);  // much the same
    if (gpus.has(column.gauge) && !is_repeated) columns.push_back(column);
  }
  if (columns.empty()) return;
  size_t name_width = kNameWidth;
  for (const GpuView& gpu : gpus.gpus) {
    name_width = std::max(name_width, std::min<size_t>(one_line(gpu.title).size(), 40));
  }
  const auto cell = [&out](const std::string& text) {
    out << ' ' << std::right << std::setw(kCellWidth) << text;
  };
  const auto name = [&](const std::string& text) {
    out << std::left << std::setw(static_cast<int>(name_width)) << text;
  };
  out << '\n';
  name("GPU");
  for (const Column& column : columns) cell(column.head);
  out << '\n';
  for (const GpuView& gpu : gpus.gpus) {
    name(one_line(gpu.title));
    for (const Column& column : columns) {
      std::string text = value_text(column.gauge, gpu[column.gauge].*column.figure);
      if (is_memory(column.gauge) && gpu.memory_total_mib > 0) {
        text += "/" + value_text(column.gauge, gpu.memory_total_mib);
      }
      cell(text);
    }
    out << '\n';
  }
}

std::string gpu_section(const Report& report) {
  const GpuViews& gpus = report.gpus;
  if (gpus.pages.empty()) return "";
  std::string html = "<h2>GPUs</h2>\n";
  const std::vector<Chart> charts = gpu_charts(report);
  if (!charts.empty()) html += draw(charts);
  html +=
      "<p class=\"note\">By the pages of dcgm-exporter, with what else ran on the GPUs. Large: "
      "means "
      "over the measured time; shares are of that time, in which the part was active.";
  if (gpus.energy) html += " Energy: " + escape_html(energy_text(*gpus.energy)) + ".";
  return html + "</p>\n" + devices_table(gpus) + "<h3>Their pages</h3>\n" + pages_table(gpus);
}

Json gpus_json(const GpuViews& gpus, const RunFacts& facts) {
  Json json = {{"from_seconds", json_number(gpus.from_seconds)},
               {"to_seconds", json_number(gpus.to_seconds)},
               {"pages", Json::array()},
               {"devices", Json::array()},
               {"energy", gpus.energy ? energy_json(*gpus.energy) : Json()}};
  for (const GpuPages& pages : gpus.pages) {
    json["pages"].push_back({{"target", pages.target},
                             {"scrapes", pages.scrapes},
                             {"failures", pages.failures},
                             {"first_failure", pages.first_failure},
                             {"measured", pages.pages},
                             {"renewed", pages.renewed},
                             {"longest_gap_seconds", json_number(pages.longest_gap_seconds)}});
  }
  for (const GpuView& gpu : gpus.gpus) {
    json["devices"].push_back(device_json(gpu, gpus.pages[gpu.page], facts));
  }
  return json;
}

}  // namespace switchyard
