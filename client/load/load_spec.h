// LoadSpec: all of a load, as `switchyard load` takes it from flags and a JSON file: what is asked,
// when, how long, and what ends it early. Parsed, checked, and printed again complete.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "client/load/arrival.h"
#include "client/load/spread.h"
#include "switchyard/v1/common.pb.h"

namespace switchyard {

// Shares of the requests that misbehave on purpose; at most 1 together.
struct FaultSpec {
  double cancel = 0;  // the caller leaves, after a time or after so many tokens
  Spread cancel_after_ms{0};
  Spread cancel_after_tokens{0};  // 0: by time
  double deadline = 0;            // the caller gives the answer no more than this
  Spread deadline_ms{1000};
  double slow_reader = 0;  // the caller pauses after each message
  Spread pause_ms{100};
  double malformed = 0;  // a field out of its range, or bytes that are no request
};

// A kind of request.
struct ClassSpec {
  std::string name = "default";
  double share = 1;  // of conversations, relative to the other classes'
  int32_t priority = 0;
  Spread prompt_tokens{128};  // that each turn adds, after the shared prefix
  Spread answer_tokens{128};
  // The first turn begins with one of so many prefixes of so many tokens.
  int32_t prefix_groups = 0;
  int32_t prefix_tokens = 0;
  Spread turns{1};
  Spread think_ms{0};      // from an answer's end until its reader asks again
  bool ignore_eos = true;  // answers have exactly the length asked for
  v1::SamplingParameters sampling;
  FaultSpec faults;
};

struct TraceSpec {
  std::string file;  // empty: no trace
  double speed = 1;  // 2: in half the time
  int32_t block_tokens = 512;
  // Longer ones are cut, for models whose context is shorter than the trace's.
  int32_t most_prompt_tokens = 1 << 22;
  int32_t most_answer_tokens = 1 << 22;
};

// Asks for a stop when the load has become pointless.
struct StopSpec {
  // Of the ended requests, from the twentieth on, that failed unmeant.
  double most_errors = 1;
  // When the requests in flight have been rising over this time; 0: never.
  double saturation_seconds = 0;
};

struct LoadSpec {
  std::string model;  // empty: the nodes' only one
  std::vector<ClassSpec> classes;
  // Conversations that take turns at once in an open loop.
  int32_t conversations_at_once = 1;
  TraceSpec trace;
  std::string prompts_file;  // JSONL; empty: synthetic prompts
  std::string replay_file;   // a saved workload; empty: none

  // Nothing: the trace or the saved workload has times of its own.
  std::variant<std::monostate, OpenLoop, ClosedLoop> arrival;
  uint64_t seed = 1;
  int64_t requests = -1;         // -1: no limit but the time
  double duration_seconds = -1;  // -1: no limit but the count
  double warmup_seconds = 0;
  double cooldown_seconds = 0;
  double grace_seconds = 60;  // for what is in flight at the end
  int32_t max_in_flight = 10'000;
  int32_t retries = 0;         // of a refusal that says when to come back
  double timeout_seconds = 0;  // of each request; 0: none
  StopSpec stop;
  // The classes sample greedily, and so many of the requests are asked again, alone, after the run.
  int32_t check_greedy = 0;
};

// Fields that are absent take the defaults above; a load without arrival, count or duration that
// needs one is refused.
absl::StatusOr<LoadSpec> parse_load_spec(const nlohmann::json& json);

// With every field, as parse_load_spec() takes it.
nlohmann::json to_json(const LoadSpec& spec);

// Lays `flags` over `file`: a field of `flags` replaces the one of `file`; what `flags` holds under
// "class" goes into each of the classes. Flags of one way to arrive drop the file's other ways.
nlohmann::json lay_over(nlohmann::json file, const nlohmann::json& flags);

}  // namespace switchyard
