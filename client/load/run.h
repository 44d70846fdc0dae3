// LoadRun: everything that one run of a load found, from the driver to whoever judges it.
// Plain values; times are nanoseconds of a steady clock since the run began unless they say else.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/load/record.h"

namespace switchyard {

// How far behind its own plan the client was: intended_ns to sent_ns, over the sends of the whole
// run that were not held back on purpose. A client that was late did not make the load it reports.
struct Lateness {
  static constexpr int64_t kLateNs = 10'000'000;
  static constexpr double kTolerableShare = 0.01;

  int64_t sends = 0;
  int64_t late_sends = 0;  // by more than kLateNs
  int64_t median_ns = 0;
  int64_t p99_ns = 0;
  int64_t worst_ns = 0;

  [[nodiscard]] bool tolerable() const {
    return static_cast<double>(late_sends) <= kTolerableShare * static_cast<double>(sends);
  }
};

// Why no more requests were sent. All but the first two leave work undone.
enum class StopReason : uint8_t {
  kCount,        // every request was sent
  kDuration,     // the time was over
  kInterrupted,  // by a person
  kErrors,       // too large a share failed
  kSaturated,    // more and more were in flight
};

// The load at one moment, sampled every quarter of a second.
struct LoadSample {
  int64_t at_ns = 0;
  int64_t sent = 0;  // so far, as the next two
  int64_t ended = 0;
  int64_t answer_tokens = 0;
  int32_t in_flight = 0;
  int32_t held_back = 0;  // meant to be sent, and waiting for the limit of requests in flight
};

// What a run looks like from outside while it goes on.
struct LoadProgress {
  LoadSample now;
  int64_t failed = 0;     // ended badly, faults on purpose left out
  int64_t requests = -1;  // how many will be sent; -1: until the time is over
  int64_t duration_ns = -1;
};

// One prompt asked alone, greedily, after it had been asked greedily under load.
struct GreedyComparison {
  int64_t number = 0;  // of the request under load
  int32_t tokens = 0;  // of the answer alone
  // The first token in which the answers differ; -1: they are equal.
  int32_t diverged_at = -1;
};
inline int64_t count_diverged(const std::vector<GreedyComparison>& pairs) {
  return std::ranges::count_if(pairs, [](const auto& pair) { return pair.diverged_at >= 0; });
}

// Something that was done to the nodes while the run went on.
struct EventRecord {
  std::string what = {};
  int64_t planned_ns = 0;
  int64_t began_ns = -1;  // -1: the run was over before
  int64_t ended_ns = -1;
  // When it began; when it was meant to, where it did not.
  [[nodiscard]] int64_t at_ns() const { return began_ns >= 0 ? began_ns : planned_ns; }
  bool succeeded = false;
  std::string outcome = {};  // in words
};

struct RunFacts {
  uint64_t seed = 0;
  std::string version;        // of this client
  std::string commit;         // that it was built from; empty: not from a checkout
  int64_t start_unix_ns = 0;  // the moment 0 of this run's times, since 1970
  std::string spec_json;      // what was asked for, complete: with the seed it gives the same load
  std::string model;          // as the nodes name it
  std::vector<std::string> targets;
  int32_t channels = 1;          // for each target
  std::string balance;           // how targets take turns
  int64_t warmup_ns = 0;         // requests meant before this are not measured
  int64_t last_intended_ns = 0;  // of all requests
  int64_t measured_from_ns = 0;  // [from, to) of the requests that are measured
  int64_t measured_to_ns = 0;
  int64_t wall_ns = 0;  // until the last request had ended
  double client_cpu_seconds = 0;
  Lateness lateness;
  int32_t max_in_flight = 0;  // the limit
  int32_t peak_in_flight = 0;
  int64_t held_back = 0;     // sends that waited for it
  int64_t unsent_turns = 0;  // of conversations whose earlier turn was too long for the run
  StopReason stop_reason = StopReason::kCount;
  std::string stop_detail;  // in words, for the reasons that leave work undone
  std::vector<LoadSample> samples;
  std::vector<EventRecord> events;                      // in the order of their planned times
  std::optional<std::vector<GreedyComparison>> greedy;  // where it was asked for
};

// A moment since 1970 by the run's clock; before the run: negative.
inline double seconds_into(const RunFacts& facts, int64_t unix_ns) {
  return static_cast<double>(unix_ns - facts.start_unix_ns) / 1e9;
}

struct LoadRun {
  RunFacts facts;
  std::vector<RequestRecord> records;  // by number
};

// What a sweep asks of each of its runs.
struct SweepVerdict {
  bool met = false;
  std::string why;  // in words: what was missed, or by how much it was met
};

struct SweepPoint {
  double rate = 0;  // requests/s
  LoadRun run;
  SweepVerdict verdict;
};

struct SweepResult {
  std::vector<SweepPoint> points;  // in the order in which they ran
  // The highest rate that met the objectives; 0: none did.
  double best_rate = 0;
  bool at_the_limit = false;  // the highest rate allowed met them too: the truth is above
};

}  // namespace switchyard
