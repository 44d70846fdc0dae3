#include "engine/request/request.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/request_builder.h"

namespace switchyard {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

Status made(const std::function<void(RequestFields&)>& change) {
  RequestFields fields = question();
  change(fields);
  return Request::make(std::move(fields), small_limits()).status();
}

// The field that a changed question is refused for; "ok" when it is accepted.
std::string refused_for(const std::function<void(RequestFields&)>& change) {
  const Status status = made(change);
  if (status.ok()) return "ok";
  EXPECT_EQ(status.code(), Code::kInvalidArgument) << status.message();
  EXPECT_EQ(status.message().rfind(status.field() + ": ", 0), 0u) << status.message();
  return status.field();
}

TEST(Request, IsMadeOfAGoodQuestion) {
  EXPECT_EQ(refused_for([](RequestFields&) {}), "ok");
}

TEST(Request, NeedsAPromptOfKnownTokensThatLeavesRoomForAnAnswer) {
  const auto with = [](std::vector<int32_t> prompt) {
    return refused_for([&](RequestFields& fields) { fields.prompt = prompt; });
  };
  EXPECT_EQ(with({}), "input");
  EXPECT_EQ(with({1, -1}), "input");
  EXPECT_EQ(with({100}), "input");
  EXPECT_EQ(with(std::vector<int32_t>(64, 1)), "input");
  EXPECT_EQ(with(std::vector<int32_t>(63, 1)), "ok");
}

TEST(Request, RefusesSamplingParametersOutsideTheirRanges) {
  const auto with = [](float SamplingParameters::*field, float value) {
    return refused_for([&](RequestFields& fields) { fields.sampling.*field = value; });
  };
  struct Case {
    float SamplingParameters::*field;
    const char* name;
    std::vector<float> good, bad;
  };
  const std::vector<Case> cases = {
      {&SamplingParameters::temperature, "sampling.temperature", {0, 1, 100}, {-0.1F, 100.5F}},
      {&SamplingParameters::top_p, "sampling.top_p", {0.01F, 1}, {0, -1, 1.01F}},
      {&SamplingParameters::min_p, "sampling.min_p", {0, 0.99F}, {-0.1F, 1}},
      {&SamplingParameters::repetition_penalty,
       "sampling.repetition_penalty",
       {0.5F, 100},
       {0, -1, 101}},
      {&SamplingParameters::presence_penalty, "sampling.presence_penalty", {-2, 2}, {-2.1F, 2.1F}},
      {&SamplingParameters::frequency_penalty,
       "sampling.frequency_penalty",
       {-2, 2},
       {-2.1F, 2.1F}},
  };
  for (const Case& each : cases) {
    for (const float value : each.good) EXPECT_EQ(with(each.field, value), "ok") << each.name;
    for (const float value : each.bad) EXPECT_EQ(with(each.field, value), each.name) << value;
    for (const float value : {kNan, kInfinity, -kInfinity}) {
      EXPECT_EQ(with(each.field, value), each.name) << value;
    }
  }
  EXPECT_EQ(refused_for([](RequestFields& f) { f.sampling.top_k = -1; }), "sampling.top_k");
}

TEST(Request, RefusesTopLogprobsWithoutLogprobsOrTooManyOfThem) {
  const auto with = [](bool logprobs, int top) {
    return refused_for([&](RequestFields& fields) {
      fields.sampling.logprobs = logprobs;
      fields.sampling.top_logprobs = top;
    });
  };
  EXPECT_EQ(with(true, kMaxTopLogprobs), "ok");
  EXPECT_EQ(with(true, kMaxTopLogprobs + 1), "sampling.top_logprobs");
  EXPECT_EQ(with(true, -1), "sampling.top_logprobs");
  EXPECT_EQ(with(false, 1), "sampling.top_logprobs");
}

TEST(Request, RefusesLogitBiasThatIsUnknownTwiceTooLargeOrTooLong) {
  const auto with = [](std::vector<std::pair<int32_t, float>> bias) {
    return refused_for([&](RequestFields& fields) { fields.sampling.logit_bias = bias; });
  };
  EXPECT_EQ(with({{0, -100.F}, {99, 100.F}}), "ok");
  EXPECT_EQ(with({{100, 1.F}}), "sampling.logit_bias");
  EXPECT_EQ(with({{-1, 1.F}}), "sampling.logit_bias");
  EXPECT_EQ(with({{1, 1.F}, {1, 2.F}}), "sampling.logit_bias");
  EXPECT_EQ(with({{1, 100.5F}}), "sampling.logit_bias");
  EXPECT_EQ(with({{1, kNan}}), "sampling.logit_bias");
  EXPECT_EQ(with({{1, -kInfinity}}), "sampling.logit_bias");
  EXPECT_EQ(with(std::vector<std::pair<int32_t, float>>(kMaxLogitBias + 1)), "sampling.logit_bias");
}

TEST(Request, RefusesLengthsThatMakeNoSense) {
  const auto with = [](int minimum, int maximum) {
    return refused_for([&](RequestFields& fields) {
      fields.stop.min_new_tokens = minimum;
      fields.stop.max_new_tokens = maximum;
    });
  };
  EXPECT_EQ(with(0, 0), "stop.max_new_tokens");
  EXPECT_EQ(with(0, -5), "stop.max_new_tokens");
  EXPECT_EQ(with(0, 1'000'001), "stop.max_new_tokens");
  EXPECT_EQ(with(0, 1'000'000), "ok");
  EXPECT_EQ(with(-1, 5), "stop.min_new_tokens");
  EXPECT_EQ(with(6, 5), "stop.min_new_tokens");
  EXPECT_EQ(with(5, 5), "ok");
}

TEST(Request, RefusesStopStringsThatAreEmptyLongManyOrNotText) {
  const auto with = [](std::vector<std::string> stops) {
    return refused_for([&](RequestFields& fields) { fields.stop.stop_strings = stops; });
  };
  EXPECT_EQ(with({"\n\n", "\xC3\xA9nd", "\xF0\x9F\x98\x80"}), "ok");
  EXPECT_EQ(with({std::string(kMaxStopStringBytes, 'x')}), "ok");
  EXPECT_EQ(with({""}), "stop.stop_strings");
  EXPECT_EQ(with({std::string(kMaxStopStringBytes + 1, 'x')}), "stop.stop_strings");
  EXPECT_EQ(with(std::vector<std::string>(kMaxStopStrings + 1, "x")), "stop.stop_strings");
  EXPECT_EQ(with({"\xA9"}), "stop.stop_strings");
  EXPECT_EQ(with({"x\xC3"}), "stop.stop_strings");
  EXPECT_EQ(with({"\xC3x"}), "stop.stop_strings");
  EXPECT_EQ(with({"\xFF"}), "stop.stop_strings");
}

TEST(Request, RefusesStopTokensThatAreUnknownOrMany) {
  const auto with = [](std::vector<int32_t> tokens) {
    return refused_for([&](RequestFields& fields) { fields.stop.stop_tokens = tokens; });
  };
  EXPECT_EQ(with({0, 99}), "ok");
  EXPECT_EQ(with({100}), "stop.stop_token_ids");
  EXPECT_EQ(with({-1}), "stop.stop_token_ids");
  EXPECT_EQ(with(std::vector<int32_t>(kMaxStopTokens + 1, 1)), "stop.stop_token_ids");
}

TEST(Request, RefusesPrioritiesBeyondAHundred) {
  EXPECT_EQ(refused_for([](RequestFields& fields) { fields.priority = 101; }), "priority");
  EXPECT_EQ(refused_for([](RequestFields& fields) { fields.priority = -101; }), "priority");
  EXPECT_EQ(refused_for([](RequestFields& fields) { fields.priority = -100; }), "ok");
}

TEST(Request, CutsItsAnswerToWhatTheContextLeaves) {
  const Request request = request_with([](RequestFields& fields) {
    fields.stop.max_new_tokens = 5000;
    fields.stop.min_new_tokens = 4000;
  });
  EXPECT_EQ(request.fields().stop.max_new_tokens, 61);
  EXPECT_EQ(request.fields().stop.min_new_tokens, 61);
}

TEST(Request, ThatCanNeverFitTheCacheSaysWhatItNeedsAndWhatThereIs) {
  RequestLimits limits = small_limits();
  limits.kv_tokens = 12;
  const Status status = Request::make(question(), limits).status();
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  EXPECT_NE(status.message().find("13"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("12"), std::string::npos) << status.message();
  limits.kv_tokens = 13;
  EXPECT_TRUE(Request::make(question(), limits).ok());
}

TEST(Request, EndsOnTheModelsTokensUnlessToldToIgnoreThem) {
  const Request both = request_with([](RequestFields& f) { f.stop.stop_tokens = {9, 2, 4, 9}; });
  EXPECT_EQ(both.end_tokens(), (std::vector<int32_t>{2, 4, 9}));
  const Request ignoring = request_with([](RequestFields& fields) {
    fields.stop.stop_tokens = {9};
    fields.stop.ignore_eos = true;
  });
  EXPECT_EQ(ignoring.end_tokens(), (std::vector<int32_t>{9}));
}

}  // namespace
}  // namespace switchyard
