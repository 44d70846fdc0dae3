// Makes planned requests of prompts: lengths, sampling, seeds, priority and faults of a class.
// Prompts are others' (synthetic, prompt_file, trace).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/load/load_spec.h"
#include "client/load/planned_request.h"
#include "client/load/random.h"

namespace switchyard {

// The tokens that synthetic prompts may hold.
struct TokenSpace {
  int32_t vocab_size = 0;
  std::vector<int32_t> avoided;  // rising; such as the model's end-of-sequence tokens

  [[nodiscard]] int32_t draw(Random& random) const;
};

void append_tokens(v1::TokenIds& ids, int64_t count, const TokenSpace& space, Random& random);

// Which request it is, whatever else the load holds.
struct RequestName {
  int64_t conversation = 0;
  int32_t turn = 0;
};

struct MakerOptions {
  std::string model;
  uint64_t seed = 0;
};

// A request of `kind` without its prompt. `answer_tokens` -1: drawn from the class.
PlannedRequest make_request(const ClassSpec& kind,
                            RequestName name,
                            int32_t answer_tokens,
                            const MakerOptions& options);

}  // namespace switchyard
