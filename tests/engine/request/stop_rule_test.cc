#include "engine/request/stop_rule.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/request_builder.h"

namespace switchyard {
namespace {

constexpr int32_t kWord = 50;  // a token that ends nothing

StopRule rule_with(const std::function<void(StopCondition&)>& change) {
  return StopRule(request_with([&](RequestFields& fields) { change(fields.stop); }));
}

StopRule rule_for(std::vector<std::string> stop_strings) {
  return rule_with([&](StopCondition& stop) {
    stop.max_new_tokens = 60;
    stop.stop_strings = std::move(stop_strings);
  });
}

TEST(StopRule, ShowsEveryPieceAtOnceWhenThereIsNothingToWaitFor) {
  StopRule rule = rule_for({});
  EXPECT_EQ(rule.push(kWord, "Hello").text, "Hello");
  EXPECT_EQ(rule.push(kWord, "").text, "");
  EXPECT_EQ(rule.push(kWord, " world").text, " world");
  EXPECT_EQ(rule.flush(), "");
}

TEST(StopRule, HoldsBackOnlyWhatCouldBeginAStopString) {
  StopRule rule = rule_for({"###"});
  EXPECT_EQ(rule.push(kWord, "title #").text, "title ");
  EXPECT_EQ(rule.push(kWord, "#").text, "");
  EXPECT_EQ(rule.push(kWord, " no").text, "## no");
  EXPECT_EQ(rule.push(kWord, "a#").text, "a");
  EXPECT_EQ(rule.flush(), "#");
  EXPECT_EQ(rule.flush(), "");
}

TEST(StopRule, FindsAStopStringAcrossTokens) {
  StopRule rule = rule_for({"</end>"});
  EXPECT_EQ(rule.push(kWord, "ok </e").text, "ok ");
  EXPECT_EQ(rule.push(kWord, "nd").text, "");
  const StopVerdict verdict = rule.push(kWord, "> more");
  EXPECT_TRUE(verdict.ended);
  EXPECT_EQ(verdict.reason, FinishReason::kStopString);
  EXPECT_EQ(verdict.matched_stop, "</end>");
  EXPECT_EQ(verdict.text, "");
  EXPECT_EQ(rule.flush(), "");
}

TEST(StopRule, FallsBackToTheLongestBeginningThatIsStillPossible) {
  StopRule rule = rule_for({"aab"});
  EXPECT_EQ(rule.push(kWord, "aaa").text, "a");
  const StopVerdict verdict = rule.push(kWord, "b");
  EXPECT_TRUE(verdict.ended);
  EXPECT_EQ(verdict.text, "");
}

TEST(StopRule, ShowsTheStopStringWhenAskedTo) {
  StopRule rule = rule_with([](StopCondition& stop) {
    stop.stop_strings = {"END"};
    stop.include_stop = true;
  });
  EXPECT_EQ(rule.push(kWord, "a E").text, "a ");
  EXPECT_EQ(rule.push(kWord, "ND b").text, "END");
}

TEST(StopRule, TakesTheMatchThatEndsFirstAndOfThoseTheLongest) {
  StopRule first = rule_for({"bcd", "ab"});
  EXPECT_EQ(first.push(kWord, "xabcd").matched_stop, "ab");
  StopRule longest = rule_for({"c", "abc", "bc"});
  const StopVerdict verdict = longest.push(kWord, "xabc");
  EXPECT_EQ(verdict.matched_stop, "abc");
  EXPECT_EQ(verdict.text, "x");
}

TEST(StopRule, TellsTheModelsEndFromTheCallersStopToken) {
  const auto rule = [] { return rule_with([](StopCondition& stop) { stop.stop_tokens = {7}; }); };
  StopRule eos = rule();
  EXPECT_TRUE(eos.is_end_token(2));
  const StopVerdict by_model = eos.push(2, "");
  EXPECT_EQ(by_model.reason, FinishReason::kEos);
  EXPECT_EQ(by_model.matched_token, 2);
  StopRule caller = rule();
  const StopVerdict by_caller = caller.push(7, "");
  EXPECT_EQ(by_caller.reason, FinishReason::kStopToken);
  EXPECT_EQ(by_caller.matched_token, 7);
}

TEST(StopRule, GoesOnPastTheModelsEndWhenToldToIgnoreIt) {
  StopRule rule = rule_with([](StopCondition& stop) { stop.ignore_eos = true; });
  EXPECT_FALSE(rule.is_end_token(2));
  EXPECT_FALSE(rule.push(2, "<eos>").ended);
}

TEST(StopRule, EndsAtMaxNewTokensAndKeepsTheHeldTextForTheFlush) {
  StopRule rule = rule_with([](StopCondition& stop) {
    stop.max_new_tokens = 2;
    stop.stop_strings = {"xyz"};
  });
  EXPECT_FALSE(rule.push(kWord, "a").ended);
  const StopVerdict verdict = rule.push(kWord, "bxy");
  EXPECT_TRUE(verdict.ended);
  EXPECT_EQ(verdict.reason, FinishReason::kMaxTokens);
  EXPECT_EQ(verdict.text, "b");
  EXPECT_EQ(rule.flush(), "xy");
}

TEST(StopRule, PrefersAStopStringToTheLimitItMeets) {
  StopRule rule = rule_with([](StopCondition& stop) {
    stop.max_new_tokens = 1;
    stop.stop_strings = {"x"};
  });
  EXPECT_EQ(rule.push(kWord, "ax").reason, FinishReason::kStopString);
}

TEST(StopRule, NamesTheContextWhenThatIsFull) {
  StopRule rule = rule_with([](StopCondition& stop) { stop.max_new_tokens = 5000; });
  StopVerdict verdict;
  int tokens = 0;
  while (!verdict.ended) {
    verdict = rule.push(kWord, "x");
    ++tokens;
  }
  EXPECT_EQ(tokens, 61);
  EXPECT_EQ(verdict.reason, FinishReason::kContextLimit);
}

TEST(StopRule, MatchesNothingInTheTextOfTheFirstMinNewTokens) {
  StopRule rule = rule_with([](StopCondition& stop) {
    stop.min_new_tokens = 2;
    stop.stop_strings = {"ab"};
  });
  EXPECT_EQ(rule.push(kWord, "ab").text, "ab");
  EXPECT_EQ(rule.push(kWord, "a").text, "a");
  EXPECT_EQ(rule.push(kWord, "b").text, "b");
  EXPECT_TRUE(rule.push(kWord, "ab").ended);
}

// However the text is cut into pieces, the same is shown in the end, and it is what a plain search
// of the whole text finds.
TEST(StopRule, DoesNotDependOnHowTheTextWasCut) {
  std::mt19937 random(7);
  const auto word = [&](int longest) {
    std::string text(1 + random() % longest, ' ');
    for (char& letter : text) letter = static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 2000; ++round) {
    const std::vector<std::string> stops = {word(6), word(6), word(4)};
    const std::string text = word(40);
    std::string expected = text;
    for (size_t end = 1; end <= text.size() && expected == text; ++end) {
      size_t longest = 0;
      for (const std::string& stop : stops) {
        if (text.substr(0, end).ends_with(stop)) longest = std::max(longest, stop.size());
      }
      if (longest > 0) expected = text.substr(0, end - longest);
      if (longest > 0) break;
    }
    StopRule rule = rule_for(stops);
    std::string shown;
    bool ended = false;
    for (size_t at = 0; at < text.size() && !ended;) {
      const size_t length = 1 + random() % 5;
      StopVerdict verdict = rule.push(kWord, std::string_view(text).substr(at, length));
      shown += verdict.text;
      ended = verdict.ended;
      at += length;
      EXPECT_EQ(expected.substr(0, shown.size()), shown);
    }
    if (!ended) shown += rule.flush();
    EXPECT_EQ(shown, expected);
  }
}

TEST(StopRule, StaysFastOnHostileStopStrings) {
  std::vector<std::string> stops;
  for (size_t i = 0; i < kMaxStopStrings; ++i) {
    stops.push_back(std::string(kMaxStopStringBytes - 1 - i, 'a') + "b");
  }
  StopRule rule = rule_for(stops);
  for (int i = 0; i < 50; ++i) EXPECT_FALSE(rule.push(kWord, std::string(4096, 'a')).ended);
}

}  // namespace
}  // namespace switchyard
