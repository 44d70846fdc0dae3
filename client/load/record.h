// RequestRecord: what one request of a load was meant to be, and what became of it.
// Plain values between those who make load (driver) and those who judge it (report). All times are
// nanoseconds of a steady clock since the run began; -1: it never came to that.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace switchyard {

// What a request does wrong on purpose.
enum class LoadFault : uint8_t { kNone, kCancel, kDeadline, kSlowReader, kMalformed };

// Tokens that came with one message, and when. A message is no measure: it may hold many tokens.
struct TokenArrival {
  int64_t at_ns = 0;
  int32_t tokens = 0;
};

struct RequestRecord {
  // In the order in which they became due.
  int64_t number = 0;
  std::string class_name;  // of the workload; "default" where it has one
  int64_t session = -1;    // conversation that it is a turn of; -1: none
  int32_t turn = 0;
  int32_t priority = 0;
  LoadFault fault = LoadFault::kNone;
  bool measured = true;    // false: meant for warm-up or cool-down
  bool held_back = false;  // waited for the limit of requests in flight: asked for, not lateness
  bool cut = false;        // the run ended before it did, or before it was sent (sent_ns -1)

  // Asked for; -1: not known to the client, such as the tokens of a text.
  int32_t wanted_prompt_tokens = -1;
  int32_t wanted_answer_tokens = -1;

  int64_t intended_ns = -1;  // when the arrival process wanted it sent
  int64_t sent_ns = -1;      // when the call was handed to gRPC
  int64_t end_ns = -1;       // when its status was here
  std::vector<TokenArrival> arrivals;

  std::string target;        // address it was sent to, the last time
  std::string first_target;  // and the first time
  std::string node_id;       // who says to have answered: Started.node_id
  int32_t code = 0;          // grpc::StatusCode
  std::string reason;        // ErrorInfo.reason of a failure, such as QUEUE_FULL
  std::string message;       // of a failure, its first 200 bytes; made by another process
  bool retry_hint = false;   // a refusal that carried RetryInfo
  int32_t more_attempts = 0;
  bool broken = false;  // an OK stream in the wrong order, or whose counts do not add up

  // Of the node's Usage; -1: no usage arrived.
  int32_t prompt_tokens = -1;
  int32_t cached_tokens = -1;
  int32_t completion_tokens = -1;
  int32_t preemptions = -1;
  double queue_seconds = -1;        // by the node's clock
  double first_token_seconds = -1;  // by the node's clock
  double total_seconds = -1;        // by the node's clock
};

}  // namespace switchyard
