#include "engine/request/logit_edits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "tests/support/request_builder.h"

namespace switchyard {
namespace {

std::optional<LogitEdit> edit_of(const LogitEdits& edits, int32_t token) {
  std::optional<LogitEdit> found;
  for (const LogitEdit& edit : edits.values()) {
    if (edit.token != token) continue;
    EXPECT_FALSE(found.has_value()) << "token " << token << " has two edits";
    found = edit;
  }
  return found;
}

TEST(LogitEdits, AreNoneForARequestThatAsksForNone) {
  LogitEdits edits(request_with([](RequestFields&) {}));
  edits.learn(5);
  EXPECT_TRUE(edits.values().empty());
}

TEST(LogitEdits, MarkPromptAndOutputAsSeenForTheRepetitionPenalty) {
  LogitEdits edits(request_with([](RequestFields& fields) {
    fields.prompt = {5, 6, 5};
    fields.sampling.repetition_penalty = 1.5F;
  }));
  EXPECT_EQ(edits.values().size(), 2u);
  EXPECT_EQ(edit_of(edits, 5)->seen, 1);
  EXPECT_EQ(edit_of(edits, 5)->output_count, 0);
  edits.learn(8);
  EXPECT_EQ(edit_of(edits, 8)->seen, 1);
}

TEST(LogitEdits, CountTheOutputButNotThePromptForTheOtherPenalties) {
  LogitEdits edits(
      request_with([](RequestFields& fields) { fields.sampling.frequency_penalty = 1; }));
  EXPECT_TRUE(edits.values().empty());
  edits.learn(6);
  edits.learn(9);
  edits.learn(6);
  EXPECT_EQ(edit_of(edits, 6)->output_count, 2);
  EXPECT_EQ(edit_of(edits, 9)->output_count, 1);
  EXPECT_FALSE(edit_of(edits, 5).has_value());
}

TEST(LogitEdits, CarryTheCallersBias) {
  const LogitEdits edits(request_with([](RequestFields& fields) {
    fields.sampling.logit_bias = {{3, 1.5F}, {4, -100}};
  }));
  EXPECT_EQ(edit_of(edits, 3)->bias, 1.5F);
  EXPECT_EQ(edit_of(edits, 4)->bias, -100);
}

TEST(LogitEdits, ForbidEndTokensUntilMinNewTokensThenRestoreTheirBias) {
  LogitEdits edits(request_with([](RequestFields& fields) {
    fields.stop.min_new_tokens = 2;
    fields.stop.stop_tokens = {9};
    fields.sampling.logit_bias = {{9, 3}};
  }));
  EXPECT_TRUE(std::isinf(edit_of(edits, 2)->bias) && edit_of(edits, 2)->bias < 0);
  edits.prepare(0);
  edits.prepare(1);
  EXPECT_TRUE(std::isinf(edit_of(edits, 9)->bias));
  const size_t entries = edits.values().size();
  edits.prepare(2);
  EXPECT_EQ(edit_of(edits, 2)->bias, 0);
  EXPECT_EQ(edit_of(edits, 9)->bias, 3);
  EXPECT_EQ(edits.values().size(), entries);
}

TEST(LogitEdits, FollowTheOutputOnlyForPenalties) {
  const auto follow = [](auto change) { return LogitEdits(request_with(change)).follow_output(); };
  EXPECT_TRUE(follow([](RequestFields& fields) { fields.sampling.repetition_penalty = 1.1F; }));
  EXPECT_TRUE(follow([](RequestFields& fields) { fields.sampling.presence_penalty = 1; }));
  EXPECT_TRUE(follow([](RequestFields& fields) { fields.sampling.frequency_penalty = -1; }));
  EXPECT_FALSE(follow([](RequestFields& fields) {
    fields.sampling.logit_bias = {{3, 1}};
    fields.stop.min_new_tokens = 2;
  }));
}

}  // namespace
}  // namespace switchyard
