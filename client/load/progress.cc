#include "client/load/progress.h"

#include <algorithm>
#include <bit>
#include <ostream>

#include "client/load/figure_text.h"

namespace switchyard {
namespace {

constexpr int64_t kLeastNs = 10'000;
constexpr int64_t kStepsOfDoubling = 32;
constexpr int64_t kTerminalNs = 250'000'000;
constexpr int64_t kLogNs = 10'000'000'000;

std::string seconds_text(int64_t ns) { return std::to_string(ns / 1'000'000'000) + " s"; }

}  // namespace

void LiveLatency::add(int64_t ns) {
  // In units of the smallest step, so that whole numbers do: value = 2^doublings * (1 + step / 32).
  const auto units = static_cast<uint64_t>(std::max(ns, kLeastNs)) * kStepsOfDoubling / kLeastNs;
  const int doublings = static_cast<int>(std::bit_width(units / kStepsOfDoubling)) - 1;
  const auto step = static_cast<int64_t>(units >> doublings) - kStepsOfDoubling;
  const auto bucket = static_cast<size_t>(doublings * kStepsOfDoubling + step);
  counts_[std::min(bucket, kBuckets - 1)].fetch_add(1, std::memory_order_relaxed);
}

double LiveLatency::milliseconds(double share) const {
  int64_t total = 0;
  for (const auto& count : counts_) total += count.load(std::memory_order_relaxed);
  if (total == 0) return -1;
  int64_t below = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    below += counts_[i].load(std::memory_order_relaxed);
    if (static_cast<double>(below) < share * static_cast<double>(total)) continue;
    const auto doublings = static_cast<int>(i / kStepsOfDoubling);
    const auto step = static_cast<double>(i % kStepsOfDoubling) + 1;
    return static_cast<double>(kLeastNs << doublings) * (1 + step / kStepsOfDoubling) / 1e6;
  }
  return -1;
}

std::string progress_text(const LoadProgress& progress,
                          const LoadSample& before,
                          const LiveLatency& first_tokens) {
  const LoadSample& now = progress.now;
  std::string text = seconds_text(now.at_ns);
  if (progress.duration_ns >= 0) text += " of " + seconds_text(progress.duration_ns);
  text += ": " + with_thousands(now.sent);
  if (progress.requests >= 0) text += " of " + with_thousands(progress.requests);
  text += " sent, " + with_thousands(now.in_flight) + " in flight, " + with_thousands(now.ended) +
          " done, " + with_thousands(progress.failed) + " failed";
  if (now.held_back > 0) text += ", " + with_thousands(now.held_back) + " held back";
  if (now.at_ns > before.at_ns) {
    const double tokens = static_cast<double>(now.answer_tokens - before.answer_tokens);
    text += ", " + short_number(tokens / (static_cast<double>(now.at_ns - before.at_ns) / 1e9)) +
            " tokens/s";
  }
  const double p50 = first_tokens.milliseconds(0.5);
  if (p50 >= 0) {
    text += ", TTFT p50 " + short_number(p50) + " ms, p99 " +
            short_number(first_tokens.milliseconds(0.99)) + " ms";
  }
  return text;
}

ProgressLine::~ProgressLine() {
  if (width_ > 0) out_ << '\n' << std::flush;
}

void ProgressLine::show(const LoadProgress& progress, const LiveLatency& first_tokens) {
  const int64_t every_ns = kind_ == Kind::kTerminal ? kTerminalNs : kLogNs;
  const int64_t last_ns = std::max<int64_t>(shown_ns_, kind_ == Kind::kLog ? 0 : -every_ns);
  if (progress.now.at_ns < last_ns + every_ns) return;
  std::string text = progress_text(progress, shown_, first_tokens);
  if (kind_ == Kind::kTerminal) {
    // What stood there may have been longer.
    const size_t width = text.size();
    text.resize(std::max(width, width_), ' ');
    width_ = width;
    out_ << '\r' << text << std::flush;
  } else {
    out_ << text << '\n' << std::flush;
  }
  shown_ns_ = progress.now.at_ns;
  shown_ = progress.now;
}

}  // namespace switchyard
