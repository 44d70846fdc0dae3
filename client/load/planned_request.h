// PlannedRequest: one request of a load before it is sent, complete but for what the answers of
// earlier turns will have been. Plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/load/malformed.h"
#include "client/load/record.h"
#include "switchyard/v1/generation.pb.h"

namespace switchyard {

// What goes wrong on purpose, and when.
struct PlannedFault {
  LoadFault kind = LoadFault::kNone;
  int64_t wait_ns = 0;       // cancel, deadline: after the send; slow reader: after each message
  int32_t after_tokens = 0;  // cancel: after so many of the answer; 0: by time
  Garbling garbling = Garbling::kNone;  // malformed: what the driver does to its bytes
};

struct PlannedRequest {
  int64_t at_ns = -1;  // since the start; -1: when its conversation comes to it
  std::string class_name;
  int64_t conversation = 0;
  int32_t turn = 0;
  bool last_turn = true;
  int64_t think_ns = 0;  // from this answer's end to the next turn of the conversation
  int32_t answer_tokens = -1;
  PlannedFault fault;
  // The prompt is what this turn adds; the driver puts the conversation so far before it.
  v1::GenerateRequest request;
};

// The turns of one person, in order. One turn: a request of its own.
using Conversation = std::vector<PlannedRequest>;

// Where conversations come from. What comes is a function of the source's specification and seed.
class ConversationSource {
 public:
  virtual ~ConversationSource() = default;
  // Nothing: there are no more.
  virtual std::optional<Conversation> next() = 0;
};

}  // namespace switchyard
