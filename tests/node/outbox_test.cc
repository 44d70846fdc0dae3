#include "node/outbox.h"

#include <gtest/gtest.h>

#include <numeric>

namespace switchyard {
namespace {

class OutboxTest : public testing::Test {
 protected:
  static AnswerDelta tokens(std::vector<int32_t> ids, std::string text = {}) {
    AnswerDelta delta;
    delta.tokens = std::move(ids);
    delta.text = std::move(text);
    return delta;
  }
  static EndOfAnswer good_end() {
    EndOfAnswer end;
    end.reason = FinishReason::kEos;
    return end;
  }

  ManualClock clock_;
  Metrics metrics_;
  int wakes_ = 0, prompts_done_ = 0, ends_ = 0;
  Outbox outbox_{Outbox::Surroundings{clock_, metrics_, clock_.now()},
                 Outbox::Hooks{.wake = [this] { ++wakes_; },
                               .on_prompt_done = [this] { ++prompts_done_; },
                               .on_end = [this] { ++ends_; }}};
};

TEST_F(OutboxTest, GivesWhatArrivedInOrderAndThenTheEnd) {
  outbox_.on_delta(tokens({1}, "a"));
  outbox_.on_delta(tokens({2}, "b"));
  outbox_.on_end(good_end());
  EXPECT_EQ(std::get<AnswerDelta>(outbox_.take()).text, "a");
  EXPECT_EQ(std::get<AnswerDelta>(outbox_.take()).text, "b");
  EXPECT_EQ(std::get<EndOfAnswer>(outbox_.take()).reason, FinishReason::kEos);
}

TEST_F(OutboxTest, WakesASleepingReaderOnceUntilItSleepsAgain) {
  outbox_.on_delta(tokens({1}));
  outbox_.on_delta(tokens({2}));
  EXPECT_EQ(wakes_, 1);
  outbox_.take();
  outbox_.take();
  EXPECT_TRUE(std::holds_alternative<std::monostate>(outbox_.take()));
  outbox_.on_delta(tokens({3}));
  EXPECT_EQ(wakes_, 2);
}

TEST_F(OutboxTest, MergesAdditionsWhenItIsFullAndLosesNothing) {
  constexpr int kTokens = 1000;
  for (int i = 0; i < kTokens; ++i) outbox_.on_delta(tokens({i}, std::string(1, 'x')));
  outbox_.on_end(good_end());
  std::vector<int32_t> seen;
  std::string text;
  size_t messages = 0;
  while (true) {
    Outbox::Item item = outbox_.take();
    auto* delta = std::get_if<AnswerDelta>(&item);
    if (delta == nullptr) break;
    ++messages;
    seen.insert(seen.end(), delta->tokens.begin(), delta->tokens.end());
    text += delta->text;
  }
  std::vector<int32_t> expected(kTokens);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(seen, expected);
  EXPECT_EQ(text.size(), size_t{kTokens});
  EXPECT_EQ(messages, Outbox::kMaxDeltas);
  EXPECT_EQ(metrics_.coalesced_deltas, kTokens - Outbox::kMaxDeltas);
}

TEST_F(OutboxTest, CountsTheTimeThatItWasFull) {
  for (size_t i = 0; i <= Outbox::kMaxDeltas; ++i) outbox_.on_delta(tokens({1}));
  clock_.advance(std::chrono::seconds(3));
  outbox_.take();
  EXPECT_EQ(Duration(metrics_.backpressure_nanoseconds), std::chrono::seconds(3));
}

TEST_F(OutboxTest, AbandonedDropsWhatWasNotReadAndChangesTheEnd) {
  outbox_.on_delta(tokens({1}));
  outbox_.abandon(Status(Code::kAborted, "too slow"));
  outbox_.on_delta(tokens({2}));
  EXPECT_TRUE(std::holds_alternative<std::monostate>(outbox_.take()));
  outbox_.on_end(good_end());
  const auto end = std::get<EndOfAnswer>(outbox_.take());
  EXPECT_EQ(end.reason, FinishReason::kError);
  EXPECT_EQ(end.status.code(), Code::kAborted);
}

TEST_F(OutboxTest, AbandonedAfterTheEndChangesItToo) {
  outbox_.on_delta(tokens({1}));
  outbox_.on_end(good_end());
  outbox_.abandon(Status(Code::kAborted, "too slow"));
  EXPECT_EQ(std::get<EndOfAnswer>(outbox_.take()).status.code(), Code::kAborted);
}

TEST_F(OutboxTest, SaysOnceThatThePromptIsDone) {
  outbox_.on_delta(tokens({1}));
  outbox_.on_delta(tokens({2}));
  outbox_.on_end(good_end());
  EXPECT_EQ(prompts_done_, 1);
  EXPECT_EQ(ends_, 1);
}

TEST_F(OutboxTest, SaysSoAtAnEndWithoutTokensToo) {
  outbox_.on_end(good_end());
  EXPECT_EQ(prompts_done_, 1);
}

TEST_F(OutboxTest, ObservesFirstTokenAndGapsOncePerToken) {
  clock_.advance(std::chrono::milliseconds(50));
  outbox_.on_delta(tokens({1}));
  clock_.advance(std::chrono::milliseconds(30));
  outbox_.on_delta(tokens({2, 3, 4}));
  EXPECT_DOUBLE_EQ(metrics_.time_to_first_token.sum(), 0.05);
  EXPECT_DOUBLE_EQ(metrics_.inter_token_latency.sum(), 0.03);
  uint64_t gaps = 0;
  for (size_t i = 0; i <= metrics_.inter_token_latency.bounds().size(); ++i) {
    gaps += metrics_.inter_token_latency.count(i);
  }
  EXPECT_EQ(gaps, 3u);
  EXPECT_EQ(metrics_.generation_tokens, 4u);
}

}  // namespace
}  // namespace switchyard
