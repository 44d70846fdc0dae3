#include "client/load/chart_axis.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>

namespace switchyard {
namespace {

constexpr double kMostShare = 0.9999;  // 1 would be infinitely far on a scale of nines

// 1, 2 or 5 times a power of ten, the next at or above.
double round_step(double least) {
  const double power = std::pow(10.0, std::floor(std::log10(least)));
  for (const double step : {1.0, 2.0, 5.0}) {
    if (step * power >= least * (1 - 1e-9)) return step * power;
  }
  return 10 * power;
}

// "1.5k", "200", "0.05"
std::string tick_text(double value) {
  char text[32];
  if (std::abs(value) >= 1e6) {
    std::snprintf(text, sizeof text, "%.4gM", value / 1e6);
  } else if (std::abs(value) >= 1e4) {
    std::snprintf(text, sizeof text, "%.4gk", value / 1e3);
  } else {
    std::snprintf(text, sizeof text, "%.4g", value);
  }
  return text;
}

}  // namespace

AxisMap::AxisMap(AxisScale scale, double least, double most) : scale_(scale) {
  switch (scale) {
    case AxisScale::kLinear:
    case AxisScale::kSpan: {
      from_ = std::min(least, 0.0);
      to_ = std::max(most, from_);
      if (to_ <= from_) to_ = from_ + 1;
      if (scale == AxisScale::kSpan) break;
      const double step = round_step((to_ - from_) / 5);
      to_ = std::ceil(to_ / step - 1e-9) * step;
      break;
    }
    case AxisScale::kLog: {
      to_ = most > 0 ? most : 1;
      from_ = least > 0 ? std::min(least, to_) : to_ / 1000;
      from_ = std::pow(10.0, std::floor(std::log10(from_) + 1e-9));
      const double above = round_step(to_);
      to_ = above > from_ ? above : from_ * 10;
      // Half a decade that holds nothing is half a chart.
      for (const double step : {5.0, 2.0}) {
        if (least > 0 && from_ * step <= least && from_ * step < to_ / 1.9) {
          from_ *= step;
          break;
        }
      }
      break;
    }
    case AxisScale::kNines:
      from_ = 0;
      to_ = kMostShare;
      break;
  }
}

double AxisMap::scaled(double value) const {
  switch (scale_) {
    case AxisScale::kLog:
      return std::log10(std::max(value, std::numeric_limits<double>::min()));
    case AxisScale::kNines:
      return -std::log10(1 - std::clamp(value, 0.0, kMostShare));
    case AxisScale::kLinear:
    case AxisScale::kSpan:
      break;
  }
  return value;
}

double AxisMap::place(double value) const {
  if (std::isnan(value)) return value;
  const double low = scaled(from_);
  return std::clamp((scaled(value) - low) / (scaled(to_) - low), 0.0, 1.0);
}

std::vector<Tick> AxisMap::ticks(int count) const {
  std::vector<Tick> all;
  const auto add = [&](double value, std::string text) {
    all.push_back({place(value), std::move(text)});
  };
  if (scale_ == AxisScale::kNines) {
    for (const double share : {0.0, 0.5, 0.9, 0.99, 0.999, 0.9999}) {
      char text[16];
      std::snprintf(text, sizeof text, "p%.4g", share * 100);
      add(share, text);
    }
  } else if (scale_ != AxisScale::kLog) {
    const double step = round_step((to_ - from_) / count);
    const auto first = static_cast<int64_t>(std::ceil(from_ / step - 1e-9));
    for (int64_t i = first; static_cast<double>(i) * step <= to_ * (1 + 1e-9); ++i) {
      add(static_cast<double>(i) * step, tick_text(static_cast<double>(i) * step));
    }
  } else {
    const double decades = std::log10(to_ / from_);
    for (double power = std::pow(10.0, std::floor(std::log10(from_) + 1e-9)); power <= to_;
         power *= 10) {
      for (const double step : {1.0, 2.0, 5.0}) {
        if (step != 1 && decades > count / 3.0) continue;
        const double value = power * step;
        if (value >= from_ * (1 - 1e-9) && value <= to_ * (1 + 1e-9)) add(value, tick_text(value));
      }
    }
  }
  return all;
}

}  // namespace switchyard
