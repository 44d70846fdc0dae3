#include "client/load/svg_chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "client/load/chart_axis.h"
#include "client/load/figure_text.h"

namespace switchyard {
namespace {

// In the units of the drawing; the page scales it to the width it has.
constexpr double kWidth = 480;
constexpr double kHeight = 250;
constexpr double kLeft = 52;
constexpr double kRight = 12;
constexpr double kTop = 12;
constexpr double kBottom = 44;

struct Range {
  double least = std::numeric_limits<double>::infinity();
  double most = -std::numeric_limits<double>::infinity();

  void take(double value) {
    if (!std::isfinite(value)) return;
    least = std::min(least, value);
    most = std::max(most, value);
  }
  [[nodiscard]] bool empty() const { return least > most; }
};

std::string coordinate(double value) {
  char text[24];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

std::string attribute(const char* name, double value) {
  return std::string(" ") + name + "=\"" + coordinate(value) + "\"";
}

class Drawing {
 public:
  Drawing(const Chart& chart, const Range& x, const Range& y)
      : chart_(chart), x_(chart.x.scale, x.least, x.most), y_(chart.y.scale, y.least, y.most) {}

  std::string draw() {
    out_ = "<svg viewBox=\"0 0 480 250\" role=\"img\" aria-label=\"" + escape_html(chart_.title) +
           "\" data-plot=\"" + pointer_data() + "\">";
    for (const Chart::Band& band : chart_.bands) add_band(band);
    for (const Chart::Mark& mark : chart_.marks) add_mark(mark);
    add_axes();
    for (const ChartLine& line : chart_.lines) add_line(line);
    return out_ + "</svg>";
  }

 private:
  [[nodiscard]] double across(double x) const {
    return kLeft + x_.place(x) * (kWidth - kLeft - kRight);
  }
  [[nodiscard]] double down(double y) const {
    return kHeight - kBottom - y_.place(y) * (kHeight - kTop - kBottom);
  }

  void add_rule(double x1, double y1, double x2, double y2, const char* kind) {
    out_ += std::string("<line class=\"") + kind + "\"" + attribute("x1", x1) +
            attribute("y1", y1) + attribute("x2", x2) + attribute("y2", y2) + "/>";
  }
  void add_text(double x, double y, const char* kind, std::string_view text) {
    out_ += std::string("<text class=\"") + kind + "\"" + attribute("x", x) + attribute("y", y) +
            ">" + escape_html(text) + "</text>";
  }
  void add_band(const Chart::Band& band) {
    const double from = across(band.from);
    const double to = across(band.to);
    if (to - from < 0.5) return;
    out_ += "<rect class=\"band\"" + attribute("x", from) + attribute("y", kTop) +
            attribute("width", to - from) + attribute("height", kHeight - kTop - kBottom) + "/>";
    if (to - from > 60) add_text(from + 4, kTop + 13, "note", band.name);
  }
  void add_mark(const Chart::Mark& mark) {
    const double x = across(mark.x);
    out_ += "<g><title>" + escape_html(mark.name) + "</title>";
    add_rule(x, kTop, x, kHeight - kBottom, "mark");
    out_ += "</g>";
  }
  void add_axes() {
    for (const Tick& tick : y_.ticks(5)) {
      const double y = kHeight - kBottom - tick.at * (kHeight - kTop - kBottom);
      add_rule(kLeft, y, kWidth - kRight, y, "grid");
      add_text(kLeft - 6, y + 4, "ytick", tick.text);
    }
    for (const Tick& tick : x_.ticks(6)) {
      const double x = kLeft + tick.at * (kWidth - kLeft - kRight);
      add_rule(x, kHeight - kBottom, x, kHeight - kBottom + 4, "axis");
      const bool last = tick.at > 0.97;  // its text would be cut at the edge
      add_text(last ? kWidth - kRight : x, kHeight - kBottom + 17, last ? "xtick last" : "xtick",
               tick.text);
    }
    add_rule(kLeft, kHeight - kBottom, kWidth - kRight, kHeight - kBottom, "axis");
    add_text((kLeft + kWidth - kRight) / 2, kHeight - 8, "xtitle", chart_.x.title);
  }
  void add_line(const ChartLine& line) {
    const std::string colour = " s" + std::to_string(line.colour % 8);
    for (const ChartPoint& point : line.points) {
      if (!(point.high > point.low)) continue;
      const double x = across(point.x);
      out_ += "<path class=\"whisker" + colour + "\" d=\"M" + coordinate(x) + " " +
              coordinate(down(point.low)) + "V" + coordinate(down(point.high)) + "\"/>";
    }
    if (line.style == ChartLine::Style::kDots) {
      for (const ChartPoint& point : line.points) {
        if (std::isfinite(point.y)) add_dot(point, colour);
      }
      return;
    }
    std::string path;
    bool pen_down = false;
    const ChartPoint* last = nullptr;
    for (const ChartPoint& point : line.points) {
      if (!std::isfinite(point.y)) {
        pen_down = false;
        continue;
      }
      const std::string x = coordinate(across(point.x));
      const std::string y = coordinate(down(point.y));
      if (pen_down && line.style == ChartLine::Style::kSteps) path += "H" + x + "V" + y;
      if (pen_down && line.style == ChartLine::Style::kLine) path += "L" + x + " " + y;
      // A point between two gaps would not be seen as a line of no length.
      if (!pen_down) path += "M" + x + " " + y + "h0.1";
      pen_down = true;
      last = &point;
    }
    out_ += "<path class=\"line" + colour + "\" d=\"" + path + "\"/>";
    if (last != nullptr && line.points.size() == 1) add_dot(*last, colour);
  }
  void add_dot(const ChartPoint& point, const std::string& colour) {
    out_ += "<circle class=\"dot" + colour + "\" r=\"3.5\"" + attribute("cx", across(point.x)) +
            attribute("cy", down(point.y)) + "/>";
  }

  // For the page's script: [[place, "x", "y of the first named line" or "", ...], ...], a point for
  // each x that any of them has.
  [[nodiscard]] std::string pointer_data() const {
    std::vector<double> places;
    std::vector<const ChartLine*> named;
    for (const ChartLine& line : chart_.lines) {
      if (line.name.empty()) continue;
      named.push_back(&line);
      for (const ChartPoint& point : line.points) places.push_back(point.x);
    }
    std::ranges::sort(places);
    const auto same = std::ranges::unique(places);
    places.erase(same.begin(), same.end());
    std::string data = "[";
    std::vector<size_t> next(named.size());
    for (const double x : places) {
      if (data.size() > 1) data += ",";
      data += "[" + coordinate(across(x)) + ",\"" + x_text(x) + "\"";
      for (size_t i = 0; i < named.size(); ++i) {
        const std::vector<ChartPoint>& points = named[i]->points;
        std::string text;
        if (next[i] < points.size() && points[next[i]].x == x) {
          const double y = points[next[i]++].y;
          if (std::isfinite(y)) text = short_number(y);
        }
        data += ",\"" + text + "\"";
      }
      data += "]";
    }
    return escape_html(data + "]");
  }
  [[nodiscard]] std::string x_text(double x) const {
    if (chart_.x.scale != AxisScale::kNines) return short_number(x);
    char text[16];
    std::snprintf(text, sizeof text, "p%.4g", x * 100);
    return text;
  }

  const Chart& chart_;
  const AxisMap x_;
  const AxisMap y_;
  std::string out_;
};

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : one_line(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string draw(const Chart& chart) {
  Range x;
  Range y;
  for (const ChartLine& line : chart.lines) {
    for (const ChartPoint& point : line.points) {
      if (!std::isfinite(point.y)) continue;
      // Zero has no place on a log axis; what is nothing there is no reason for a decade.
      if (chart.y.scale == AxisScale::kLog && point.y <= 0) continue;
      y.take(point.y);
      if (point.high > point.low) y.take(point.high);
    }
    for (const ChartPoint& point : line.points) x.take(point.x);
  }
  std::string out = "<figure><figcaption>" + escape_html(chart.title) + "</figcaption>";
  if (!chart.note.empty()) out += "<p class=\"note\">" + escape_html(chart.note) + "</p>";
  out += "<p class=\"legend\">";
  for (const ChartLine& line : chart.lines) {
    if (line.name.empty()) continue;
    out += "<span class=\"s" + std::to_string(line.colour % 8) + "\"><i></i>" +
           escape_html(line.name) + "</span>";
  }
  out += "<span class=\"unit\">" + escape_html(chart.y.title) + "</span></p>";
  if (y.empty()) {
    out += "<p class=\"empty\">nothing to show</p>";
  } else {
    out += Drawing(chart, x, y).draw();
  }
  return out + "</figure>\n";
}

std::string draw(const std::vector<Chart>& charts) {
  std::string out = "<div class=\"charts\">\n";
  for (const Chart& chart : charts) out += draw(chart);
  return out + "</div>\n";
}

}  // namespace switchyard
