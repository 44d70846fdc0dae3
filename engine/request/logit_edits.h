// The vocabulary entries of one sequence that the sampler must not take as the model gave them:
// repeated tokens, logit_bias, and end tokens forbidden until min_new_tokens. Kept incrementally.
// Holds counts and biases; the arithmetic of penalties is the sampler's (kernels/backend.h).
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/request/request.h"
#include "kernels/backend.h"

namespace switchyard {

// Step thread only.
class LogitEdits {
 public:
  explicit LogitEdits(const Request& request);

  // Token `index` of the answer, from 0, is drawn next, possibly before the one before it is
  // learned: from min_new_tokens on, end tokens may be drawn. Indices rise; changes no entry's
  // place and adds none.
  void prepare(int index);

  // The answer's next token.
  void learn(int32_t token);

  // Whether the entries depend on which tokens were drawn (penalties), not only on how many.
  [[nodiscard]] bool follow_output() const { return follow_output_; }

  // One entry per token at most; the same order every time.
  [[nodiscard]] std::span<const LogitEdit> values() const { return edits_; }

 private:
  LogitEdit& edit(int32_t token);
  void forbid(int32_t token);

  struct Forbidden {
    int32_t token = 0;
    float bias = 0;  // the caller's, to restore
  };

  std::vector<LogitEdit> edits_;
  std::unordered_map<int32_t, size_t> index_;  // token -> edits_
  std::vector<Forbidden> forbidden_;
  bool follow_output_;
  int min_new_tokens_;  // end tokens may be drawn after as many
};

}  // namespace switchyard
