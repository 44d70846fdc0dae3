// Figures of a run: what its requests' records add up to. Counts, latencies, rates, goodput, and
// who was served how. Only requests that were measured; only those that did nothing wrong on
// purpose, but for `faults`. Latencies count from the intended send and are of completed answers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "client/load/objectives.h"
#include "client/load/run.h"
#include "client/load/statistics.h"

namespace switchyard {

// Every request that was asked for is counted once more in exactly one of the next four.
struct Outcomes {
  int64_t asked = 0;
  int64_t completed = 0;
  int64_t failed = 0;  // a status other than OK, refusals among them
  int64_t broken = 0;  // an OK stream that was no answer
  int64_t cut = 0;     // the run ended before it did; nobody's failure

  // Refusals: RESOURCE_EXHAUSTED and UNAVAILABLE before an answer began. With RetryInfo or without.
  int64_t refused_with_hint = 0;
  int64_t refused_without_hint = 0;

  // Failed or broken after the answer had begun: what its reader had is all there is.
  int64_t lost = 0;
  int64_t more_attempts = 0;
  // Asked more than once; of these completed; of these by another target than the first one asked.
  int64_t retried = 0;
  int64_t retried_completed = 0;
  int64_t moved = 0;

  // Of those that ended by themselves.
  [[nodiscard]] double error_share() const;
};

struct Latencies {
  Distribution ttft_ms;
  Distribution tpot_ms;  // of each request the mean of its gaps
  Distribution itl_ms;   // of each token the gap before it
  Distribution e2e_ms;
};

struct Goodput {
  Slo slo;                     // of the class; of all classes together: empty
  int64_t good = 0;            // completed, and kept its class's objectives
  double share = 0;            // of all that were asked but those cut: a failure is not good
  Estimate per_second;         // good requests that ended in the span of the rates, measured or not
  Estimate tokens_per_second;  // of these
};

struct ClassFigures {
  std::string name;
  Outcomes outcomes;
  Latencies latencies;
  std::optional<Goodput> goodput;  // where its class has objectives
};

struct ErrorFigures {
  int32_t code = 0;  // grpc::StatusCode; OK: a broken stream
  std::string reason;
  std::string example;  // a message, made by another process
  int64_t count = 0;
  int64_t with_hint = 0;
};

// Requests that did something wrong on purpose, by what it was.
struct FaultFigures {
  LoadFault fault = LoadFault::kNone;
  int64_t asked = 0;
  std::vector<std::pair<int32_t, int64_t>> codes;  // how they ended, and how many; -1: cut
};

struct NodeFigures {
  std::string name;  // its id; where none was heard, the address that was asked
  Outcomes outcomes;
  int64_t output_tokens = 0;
  double cached_share = 0;  // of prompt tokens
  double ttft_p50_ms = 0;
  double ttft_p99_ms = 0;
};

struct SessionFigures {
  int64_t sessions = 0;
  int64_t turns = 0;
  int64_t later_turns = 0;  // those whose turn before is known to have had a node
  int64_t same_node = 0;    // of these, answered by that one
  // Jain's index of the answer tokens that each got per second of waiting; without sessions, of
  // single requests.
  double fairness = 1;
};

// What became of the requests that ended after something was done to the nodes, and before the next
// such thing was or the run was over; in the warm-up too.
struct EventFigures {
  EventRecord event;
  Outcomes outcomes;
};

struct TokenFigures {
  int64_t output = 0;           // counted from what arrived
  int64_t output_by_usage = 0;  // what nodes said, of the same requests
  int64_t disagreeing = 0;      // OK answers whose two counts differ
  int64_t prompt = 0;           // nodes' count
  int64_t cached = 0;           // of these
  int64_t preemptions = 0;
  int64_t without_usage = 0;  // completed answers
};

// What was done between measured_from and measured_to, by whomever: requests of the warm-up that
// go on count, since they took their share of the machine. Where fewer than half of the measured
// requests had ended by then, until the last one did: a span without most of the work says nothing.
struct Span {
  int64_t from_ns = 0;
  int64_t to_ns = 0;

  [[nodiscard]] double seconds() const { return static_cast<double>(to_ns - from_ns) / 1e9; }
};
struct Rates {
  double from_seconds = 0;
  double to_seconds = 0;
  Estimate requests_per_second;  // completed
  Estimate output_tokens_per_second;
  Estimate input_tokens_per_second;  // of prompts whose first answer token came in the span
};

struct Figures {
  Outcomes outcomes;
  Latencies latencies;
  // Parts of it, where nodes said their part in Usage.
  Distribution send_delay_ms;    // intended to sent: the client's own queue
  Distribution queue_ms;         // arrival to scheduled, by the node's clock
  Distribution node_ttft_ms;     // arrival to first token, by the node's clock
  Distribution outside_ttft_ms;  // sent to first token, less the node's part: network and client
  Rates rates;
  TokenFigures tokens;
  std::optional<Goodput> goodput;  // of all, each held to its class's objectives
  std::vector<ClassFigures> classes;
  std::vector<ErrorFigures> errors;  // most frequent first
  std::vector<FaultFigures> faults;
  std::vector<NodeFigures> nodes;
  SessionFigures sessions;
  std::vector<EventFigures> events;
};

Figures figures_of(const LoadRun& run, const Objectives& objectives);

// The distributions of a report, under the names that every output gives them.
struct NamedDistribution {
  std::string_view name;   // "ttft_ms"
  std::string_view title;  // "TTFT"
  const Distribution& values;
};
std::vector<NamedDistribution> named_distributions(const Figures& figures);
std::vector<NamedDistribution> named_distributions(const Latencies& latencies);

// "DEADLINE_EXCEEDED"; a number that gRPC does not know as itself.
std::string code_name(int32_t code);
std::string_view fault_name(LoadFault fault);

// Completed: an answer in the right order with an OK status.
bool completed(const RequestRecord& record);
// The run ended before it did.
bool is_cut(const RequestRecord& record);
// Measured, and did nothing wrong on purpose.
bool is_judged(const RequestRecord& record);

// Whether a run of a sweep counts as met: enough of every class was good, and the client was not
// late itself.
SweepVerdict sweep_verdict(const LoadRun& run, const Objectives& objectives);

}  // namespace switchyard
