// A model that needs no weights: its cache holds one number per token, its state one number per
// slot, and the next token is a hash of what it reads from both. So a wrong block, slot, length or
// position anywhere changes an answer. Also: what the same question is answered when asked alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "engine/batch/batch_builder.h"
#include "engine/memory/sequence_memory.h"
#include "engine/request/request.h"
#include "engine/request/sequence.h"

namespace switchyard {

inline constexpr int kSimVocabulary = 40;
inline constexpr int32_t kSimEos = 0;
// What a frequency penalty means here: no token is drawn more often.
inline constexpr int kSimMostRepeats = 2;

// The memory of the device and the steps that run on it, in order and as late as possible: nothing
// is computed before it is waited for.
class SimDevice {
 public:
  explicit SimDevice(SequenceMemorySize size);

  void launch(const HostBatch& batch);
  // Tokens drawn for the logit rows of the oldest batch launched.
  std::vector<int32_t> collect();

 private:
  struct Launched {
    HostBatch batch;
    std::vector<std::byte> block;  // of the batch, as it was
  };

  int block_tokens_;
  std::deque<Launched> launched_;
  std::vector<int32_t> drawn_;   // by the step that ran last
  std::vector<uint64_t> kv_;     // [blocks * block_tokens]
  std::vector<uint64_t> state_;  // [slots]
};

// Text of a token: a letter of four; every third token only comes out with the next.
[[nodiscard]] TextStream sim_text();

struct SimAnswer {
  std::vector<int32_t> tokens;
  std::string text;
  FinishReason reason = FinishReason::kError;
};

// Straight from the definitions: no scheduler, no cache, plain searches.
[[nodiscard]] SimAnswer answer_alone(const Request& request);

}  // namespace switchyard
