// Chunker: how many tokens each running sequence computes in this step.
#include "engine/schedule/chunker.h"

#include <algorithm>

#include "kernels/base/check.h"

namespace switchyard {

namespace {

int chunk_within(const PendingTokens& tokens, int budget, int block_tokens) {
  if (tokens.pending <= budget) return tokens.pending;
  const int end = tokens.computed + budget;
  const int border = end - end % block_tokens;
  return border > tokens.computed ? border - tokens.computed : budget;
}

}  // namespace

std::vector<int> chunk_tokens(std::span<const PendingTokens> sequences, ChunkLimits limits) {
  CHECK(limits.block_tokens > 0);
  CHECK(static_cast<size_t>(limits.budget_tokens) >= sequences.size());
  std::vector<int> chunks(sequences.size(), 0);
  int left = limits.budget_tokens;
  for (size_t i = 0; i < sequences.size(); ++i) {
    CHECK(sequences[i].computed >= 0 && sequences[i].pending >= 1);
    if (sequences[i].pending > 1) continue;
    chunks[i] = 1;
    --left;
  }
  for (size_t i = 0; i < sequences.size() && left > 0; ++i) {
    if (sequences[i].pending == 1) continue;
    chunks[i] = chunk_within(sequences[i], left, limits.block_tokens);
    left -= chunks[i];
  }
  return chunks;
}

}  // namespace switchyard
