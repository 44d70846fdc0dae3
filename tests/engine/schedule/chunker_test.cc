#include "engine/schedule/chunker.h"

#include <gtest/gtest.h>

#include <vector>

namespace switchyard {
namespace {

using Chunks = std::vector<int>;

Chunks chunks(const std::vector<PendingTokens>& sequences, int budget_tokens) {
  return chunk_tokens(sequences, {.budget_tokens = budget_tokens, .block_tokens = 16});
}

constexpr PendingTokens decoding(int computed) { return {.computed = computed, .pending = 1}; }
constexpr PendingTokens prompt(int tokens) { return {.computed = 0, .pending = tokens}; }

TEST(Chunker, GivesDecodeRowsTheirTokenBeforeAnyPrompt) {
  EXPECT_EQ(chunks({prompt(900), decoding(5), decoding(70)}, 64), (Chunks{48, 1, 1}));
  EXPECT_EQ(chunks({prompt(900), decoding(5), decoding(70)}, 3), (Chunks{1, 1, 1}));
}

TEST(Chunker, GivesAWholePromptWhenItFits) {
  EXPECT_EQ(chunks({prompt(50), decoding(5)}, 64), (Chunks{50, 1}));
  EXPECT_EQ(chunks({prompt(64)}, 64), (Chunks{64}));
}

TEST(Chunker, EndsAChunkThatIsNotTheLastAtABlockBorder) {
  EXPECT_EQ(chunks({prompt(100)}, 63), (Chunks{48}));
  EXPECT_EQ(chunks({{.computed = 10, .pending = 100}}, 63), (Chunks{54}));
}

TEST(Chunker, GivesUpTheBorderWhereItWouldLeaveNothing) {
  EXPECT_EQ(chunks({prompt(100)}, 10), (Chunks{10}));
  EXPECT_EQ(chunks({{.computed = 20, .pending = 100}}, 11), (Chunks{11}));
  EXPECT_EQ(chunks({{.computed = 20, .pending = 100}}, 12), (Chunks{12}));
}

TEST(Chunker, GivesPromptsTheRestInOrder) {
  EXPECT_EQ(chunks({prompt(30), prompt(100), prompt(5)}, 64), (Chunks{30, 32, 2}));
  EXPECT_EQ(chunks({prompt(64), prompt(100), prompt(5)}, 64), (Chunks{64, 0, 0}));
}

TEST(Chunker, HasNothingToGiveToNobody) { EXPECT_EQ(chunks({}, 64), Chunks{}); }

TEST(ChunkerDeathTest, StopsOnABudgetThatCannotServeEveryRow) {
  EXPECT_DEATH(chunks({decoding(1), decoding(2)}, 1), "CHECK");
}

}  // namespace
}  // namespace switchyard
