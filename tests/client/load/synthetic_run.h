// Runs that never happened: records with delays that a test knows, as a driver would have made
// them.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <utility>

#include "client/load/run.h"

namespace switchyard::test {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kSecond = 1'000 * kMs;

// What a stub server would do to one request.
struct Delays {
  int64_t send_ns = 0;          // intended to sent
  int64_t first_ns = 20 * kMs;  // sent to first message
  int64_t gap_ns = 10 * kMs;    // between messages
  int messages = 10;
  int tokens = 1;            // in each message
  int64_t end_ns = 1 * kMs;  // last message to status
};

// A completed answer.
inline RequestRecord answered(int64_t intended_ns, const Delays& delays) {
  RequestRecord record;
  record.class_name = "default";
  record.target = "127.0.0.1:50051";
  record.node_id = "node-a";
  record.intended_ns = intended_ns;
  record.sent_ns = intended_ns + delays.send_ns;
  int64_t at_ns = record.sent_ns + delays.first_ns;
  for (int i = 0; i < delays.messages; ++i) {
    record.arrivals.push_back({at_ns, delays.tokens});
    at_ns += delays.gap_ns;
  }
  record.end_ns = at_ns - (delays.messages > 0 ? delays.gap_ns : 0) + delays.end_ns;
  record.prompt_tokens = 100;
  record.cached_tokens = 25;
  record.completion_tokens = delays.messages * delays.tokens;
  record.preemptions = 0;
  record.queue_seconds = 0.001;
  record.first_token_seconds = static_cast<double>(delays.first_ns - kMs) / 1e9;
  record.total_seconds = static_cast<double>(record.end_ns - record.sent_ns) / 1e9;
  return record;
}

// An ending with a status other than OK, before any token.
inline RequestRecord failed(int64_t intended_ns, int32_t code, std::string reason = "") {
  RequestRecord record = answered(intended_ns, {.messages = 0});
  record.node_id.clear();
  record.code = code;
  record.reason = std::move(reason);
  record.end_ns = record.sent_ns + 2 * kMs;
  record.prompt_tokens = record.cached_tokens = record.completion_tokens = -1;
  record.preemptions = -1;
  record.queue_seconds = record.first_token_seconds = record.total_seconds = -1;
  return record;
}

class RunBuilder {
 public:
  RunBuilder() {
    run_.facts.seed = 7;
    run_.facts.version = "0.1.0";
    run_.facts.commit = "0123456789ab";
    run_.facts.start_unix_ns = 1'790'000'000 * kSecond;
    run_.facts.spec_json = R"({"classes":[{"name":"default"}],"seed":7})";
    run_.facts.model = "lfm2";
    run_.facts.targets = {"127.0.0.1:50051"};
    run_.facts.max_in_flight = 10'000;
  }

  RunBuilder& add(RequestRecord record) {
    record.number = std::ssize(run_.records);
    run_.records.push_back(std::move(record));
    return *this;
  }
  // `count` alike, `every_ns` apart from `from_ns` on.
  RunBuilder& add(int count, int64_t from_ns, int64_t every_ns, const Delays& delays) {
    for (int i = 0; i < count; ++i) add(answered(from_ns + i * every_ns, delays));
    return *this;
  }
  RunFacts& facts() { return run_.facts; }

  // Measured from the beginning to `to_ns`; the rest follows from the records.
  LoadRun measured_until(int64_t to_ns) {
    RunFacts& facts = run_.facts;
    facts.measured_to_ns = to_ns;
    for (const RequestRecord& record : run_.records) {
      facts.wall_ns = std::max(facts.wall_ns, record.end_ns);
      facts.last_intended_ns = std::max(facts.last_intended_ns, record.intended_ns);
      if (record.sent_ns >= 0 && facts.lateness.sends < std::ssize(run_.records)) {
        ++facts.lateness.sends;
      }
    }
    return run_;
  }

 private:
  LoadRun run_;
};

}  // namespace switchyard::test
