// Chunker: how many tokens each running sequence computes in this step. Pure: counts in, counts
// out. Rows that need one token go before any longer one, so a prompt never delays an answer;
// what is left goes to the longer ones in order.
#pragma once

#include <span>
#include <vector>

namespace switchyard {

struct PendingTokens {
  int computed = 0;
  int pending = 0;  // >= 1
};

struct ChunkLimits {
  int budget_tokens = 0;  // >= number of sequences: every answer gets its token
  int block_tokens = 0;
};

// Tokens for each sequence, in the same order; 0: not in this step. A chunk that is not a
// sequence's last ends at a block border, unless that would leave it nothing.
[[nodiscard]] std::vector<int> chunk_tokens(std::span<const PendingTokens> sequences,
                                            ChunkLimits limits);

}  // namespace switchyard
