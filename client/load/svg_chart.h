// Draws line charts as inline SVG for a page that loads nothing. Colours, light and dark, come from
// the page's style through classes (s0 .. s7); values under the pointer from its script.
// Knows axes and lines; knows nothing of requests.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace switchyard {

// For text and for attributes in double quotes.
std::string escape_html(std::string_view text);

enum class AxisScale {
  kLinear,  // from zero to a round number
  kSpan,    // from zero to the last value, for time
  kLog,
  kNines,  // shares: as much room from 99 % to 99.9 % as from 90 % to 99 %
};

struct ChartAxis {
  std::string title;  // with the unit
  AxisScale scale = AxisScale::kLinear;
};

struct ChartPoint {
  double x = 0;
  double y = 0;
  // The interval of y; equal: none is drawn.
  double low = 0;
  double high = 0;
};

struct ChartLine {
  std::string name;                // empty: a part of another, left out of the legend
  std::vector<ChartPoint> points;  // rising x; where y is no number the line has a gap
  enum class Style { kLine, kSteps, kDots } style = Style::kLine;
  int colour = 0;  // 0 to 7
};

struct Chart {
  std::string title;
  std::string note;  // what a reader should know, below the title
  ChartAxis x;
  ChartAxis y;
  std::vector<ChartLine> lines;
  // Drawn behind the lines, such as the warm-up: [from, to) in x.
  struct Band {
    double from = 0;
    double to = 0;
    std::string name;
  };
  std::vector<Band> bands;
  // Moments, as upright lines with their names.
  struct Mark {
    double x = 0;
    std::string name;
  };
  std::vector<Mark> marks = {};
};

// A <figure>; where no line has a point, one that says so.
std::string draw(const Chart& chart);
// Beside each other, as many as there is room for.
std::string draw(const std::vector<Chart>& charts);

}  // namespace switchyard
