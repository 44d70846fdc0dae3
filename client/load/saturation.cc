#include "client/load/saturation.h"

#include <algorithm>

namespace switchyard {

bool Saturation::add(int64_t at_ns, double in_flight) {
  if (window_ns_ <= 0) return false;
  if (first_ns_ < 0) first_ns_ = at_ns;
  const double window = static_cast<double>(window_ns_) * 1e-9;
  const double now = static_cast<double>(at_ns) * 1e-9;
  samples_.push_back({now, in_flight});
  while (samples_.front().seconds < now - window) samples_.pop_front();
  // The first window is the load's own beginning: it rises whatever the nodes can do.
  if (at_ns - first_ns_ < 2 * window_ns_ || samples_.size() < 3) return false;

  const auto n = static_cast<double>(samples_.size());
  double mean_x = 0;
  double mean_y = 0;
  for (const Sample& sample : samples_) {
    mean_x += sample.seconds / n;
    mean_y += sample.in_flight / n;
  }
  double xx = 0;
  double xy = 0;
  double yy = 0;
  for (const Sample& sample : samples_) {
    xx += (sample.seconds - mean_x) * (sample.seconds - mean_x);
    xy += (sample.seconds - mean_x) * (sample.in_flight - mean_y);
    yy += (sample.in_flight - mean_y) * (sample.in_flight - mean_y);
  }
  if (xx <= 0 || yy <= 0) return false;
  const double rise = xy / xx * (samples_.back().seconds - samples_.front().seconds);
  return rise >= std::max(kLeastRise, kRiseOfMean * mean_y) && xy * xy / (xx * yy) >= kExplained;
}

}  // namespace switchyard
