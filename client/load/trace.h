// Traces in Mooncake's format: one JSON object a line, of which the lengths and the times are real
// and the contents are gone (kvcache-ai/Mooncake, FAST25-release/traces).
//
//   {"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, ...]}
//
// `timestamp` is in ms; `hash_ids` names each block of 512 tokens of the prompt: equal ids stand
// for equal tokens, which we draw from the id, so that what could be cached then can be cached now.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <istream>
#include <vector>

#include "client/load/load_spec.h"
#include "client/load/request_maker.h"

namespace switchyard {

struct TraceLine {
  int64_t timestamp_ms = 0;
  int32_t input_tokens = 0;
  int32_t output_tokens = 0;
  std::vector<int64_t> hash_ids;  // of the first blocks; tokens behind them are the request's own
};

struct TraceLimits {
  size_t line_bytes = 1 << 20;
  size_t lines = 10'000'000;
};

// In order of time. Fails at the first line that is wrong, and names it.
absl::StatusOr<std::vector<TraceLine>> read_trace(std::istream& in,
                                                  int32_t block_tokens,
                                                  const TraceLimits& limits);

// Each line once, as a conversation of one turn with a time of its own.
class TraceSource final : public ConversationSource {
 public:
  struct Setting {
    TraceSpec spec;
    ClassSpec kind;  // for everything that a trace does not say
    TokenSpace space;
    MakerOptions options;
  };

  TraceSource(std::vector<TraceLine> lines, Setting setting);

  std::optional<Conversation> next() override;

 private:
  const std::vector<TraceLine> lines_;
  const Setting setting_;
  size_t next_ = 0;
};

}  // namespace switchyard
