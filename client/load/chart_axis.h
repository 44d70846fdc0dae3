// Where values lie along an axis of a chart, and which of them are written beside it.
#pragma once

#include <string>
#include <vector>

#include "client/load/svg_chart.h"

namespace switchyard {

struct Tick {
  double at = 0;  // 0 to 1 along the axis
  std::string text;
};

class AxisMap {
 public:
  // Of values from `least` to `most`, which may be equal. A log axis starts at the decade step
  // below the least value above zero.
  AxisMap(AxisScale scale, double least, double most);

  // 0 to 1; what lies outside goes to the end. Not a number: not a number.
  [[nodiscard]] double place(double value) const;
  // At most about `count`, rising.
  [[nodiscard]] std::vector<Tick> ticks(int count) const;

 private:
  [[nodiscard]] double scaled(double value) const;

  AxisScale scale_;
  double from_;  // in values
  double to_;
};

}  // namespace switchyard
