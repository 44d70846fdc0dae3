// Specifications of loads from files and flags: what they come to, and what is said of wrong ones.
#include "client/load/load_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/load/json_fields.h"

namespace switchyard {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::string problem(const json& spec) {
  const auto parsed = parse_load_spec(spec);
  return parsed.ok() ? "none" : std::string(parsed.status().message());
}

json least() { return {{"arrival", {{"rate", 2}}}, {"requests", 5}}; }

json with(const json& more) {
  json spec = least();
  spec.merge_patch(more);
  return spec;
}

TEST(LoadSpec, SaysWhichFieldIsWrongAndWhatItsLimitIs) {
  const auto of_class = [](const json& kind) { return with({{"classes", {kind}}}); };
  EXPECT_EQ(problem(least()), "none");
  EXPECT_EQ(problem(with({{"arrival", {{"rate", 0}}}})),
            "arrival.rate: is 0, must be in [0.0001, 1e+06]");
  EXPECT_EQ(problem(with({{"requests", 0}})), "requests: is 0, must be in [1, 100000000]");
  EXPECT_EQ(problem(with({{"requests", 1.5}})), "requests: must be a whole number");
  EXPECT_EQ(problem(of_class({{"priority", 200}})),
            "classes[0].priority: is 200, must be in [-100, 100]");
  EXPECT_EQ(problem(of_class({{"prompt_tokens", 0}})),
            "classes[0].prompt_tokens: the value of \"0\" must be in [1, 4194304]");
  EXPECT_THAT(problem(of_class({{"prompt_tokens", "normal:3"}})), HasSubstr("is none of N"));
  EXPECT_EQ(problem(of_class({{"prompt_tokens", "uniform:9:3"}})),
            "classes[0].prompt_tokens: LOW is above HIGH in \"uniform:9:3\"");
  EXPECT_THAT(problem(of_class({{"sampling", {{"heat", 1}}}})),
              HasSubstr("classes[0].sampling: is no SamplingParameters"));
  EXPECT_THAT(problem(of_class({{"faults", {{"cancel", 0.7}, {"deadline", 0.7}}}})),
              HasSubstr("add up to more than 1"));
  EXPECT_THAT(problem(of_class({{"prefix_groups", 4}})), HasSubstr("go together"));
  EXPECT_THAT(problem(with({{"duratoin", 3}})), HasSubstr("duratoin: is not known here; there are "
                                                          "arrival, check_greedy, classes"));
  EXPECT_THAT(problem(with({{"arrival", {{"concurrency", 2}}}})), HasSubstr("exactly one of"));
  EXPECT_THAT(problem({{"requests", 5}}), HasSubstr("arrival: is missing"));
  EXPECT_THAT(problem({{"arrival", {{"rate", 2}}}}), HasSubstr("duration_seconds: is missing"));
  EXPECT_THAT(problem(with({{"trace", {{"file", "x"}}}})), HasSubstr("times of its own"));
  EXPECT_THAT(problem(with({{"warmup_seconds", 5}, {"duration_seconds", 5}})),
              HasSubstr("leaves nothing"));
  EXPECT_EQ(problem(json::array()), "it: must be an object");
}

TEST(LoadSpec, IsTheSameAfterBeingPrinted) {
  const json everything = {
      {"model", "m"},
      {"classes",
       {{{"name", "chat"},
         {"share", 3},
         {"priority", 7},
         {"prompt_tokens", "lognormal:256:0.6:4096"},
         {"answer_tokens", "uniform:16:128"},
         {"prefix_groups", 8},
         {"prefix_tokens", 512},
         {"turns", "uniform:1:6"},
         {"think_ms", "exponential:800:5000"},
         {"ignore_eos", false},
         {"sampling", {{"temperature", 0.5}}},
         {"faults", {{"cancel", 0.25}, {"cancel_after_tokens", 5}, {"malformed", 0.125}}}},
        {{"name", "batch"}, {"faults", {{"deadline", 0.5}, {"deadline_ms", 70}}}}}},
      {"conversations_at_once", 16},
      {"prompts", "p.jsonl"},
      {"arrival",
       {{"steps", {{{"rate", 2}, {"seconds", 5}}, {{"rate", 4}, {"seconds", 5}}}},
        {"gaps", "gamma"},
        {"burstiness", 0.5}}},
      {"seed", 99},
      {"duration_seconds", 60},
      {"stop", {{"most_errors", 0.5}, {"saturation_seconds", 10}}}};
  const auto parsed = parse_load_spec(everything);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const json printed = to_json(*parsed);
  const auto again = parse_load_spec(printed);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(to_json(*again), printed);
  // And what was given is in it.
  for (const auto& [name, value] : everything.items()) {
    if (name == "classes") continue;
    EXPECT_EQ(printed[name], value) << name;
  }
  EXPECT_EQ(printed["classes"][0]["turns"], "uniform:1:6");
  EXPECT_EQ(printed["classes"][0]["faults"]["cancel_after_tokens"], 5);
  EXPECT_EQ(printed["classes"][1]["faults"]["deadline_ms"], 70);
}

TEST(LoadSpec, FlagsWinOverTheFile) {
  const json file = {
      {"arrival", {{"rate", 2}, {"gaps", "constant"}}},
      {"requests", 5},
      {"classes", {{{"name", "a"}, {"prompt_tokens", 5}}, {{"name", "b"}, {"turns", 2}}}}};
  const json laid =
      lay_over(file, {{"class", {{"prompt_tokens", "7"}}},
                      {"arrival", {{"ramp", {{"from", 1}, {"to", 2}, {"seconds", 3}}}}}});
  EXPECT_EQ(problem(laid), "none");
  EXPECT_EQ(laid["classes"][0]["prompt_tokens"], "7");
  EXPECT_EQ(laid["classes"][1]["prompt_tokens"], "7");
  EXPECT_EQ(laid["classes"][1]["turns"], 2);
  EXPECT_FALSE(laid["arrival"].contains("rate"));
  EXPECT_EQ(laid["arrival"]["gaps"], "constant");
  const json closed = lay_over(file, {{"arrival", {{"concurrency", 3}}}});
  EXPECT_EQ(problem(closed), "none");
  EXPECT_EQ(closed["arrival"], (json{{"concurrency", 3}}));
  EXPECT_EQ(problem(lay_over(closed, {{"arrival", {{"rate", 1}}}})), "none");
}

TEST(Json, IsBoundedInSizeAndDepth) {
  EXPECT_TRUE(parse_json("{\"a\": [1, \"[[[[\"]}", {.bytes = 100, .depth = 2}).ok());
  EXPECT_FALSE(parse_json("[[[1]]]", {.bytes = 100, .depth = 2}).ok());
  EXPECT_FALSE(parse_json("[1, 2, 3]", {.bytes = 5, .depth = 2}).ok());
  EXPECT_FALSE(parse_json("{\"a\": ", {.bytes = 100, .depth = 2}).ok());
}

TEST(Spread, DrawsWithinItsLimitsAndAroundItsMiddle) {
  Random random(1, Draw::kSample);
  const SpreadLimits limits{1, 1000};
  const auto mean = [&](const char* text) {
    const auto spread = Spread::parse(text, limits);
    EXPECT_TRUE(spread.ok()) << spread.status();
    double sum = 0;
    for (int i = 0; i < 20'000; ++i) {
      const int64_t value = spread->draw(random);
      EXPECT_GE(value, spread->least());
      EXPECT_LE(value, spread->most());
      sum += static_cast<double>(value);
    }
    return sum / 20'000;
  };
  EXPECT_EQ(mean("17"), 17);
  EXPECT_NEAR(mean("uniform:10:20"), 15, 0.1);
  EXPECT_NEAR(mean("lognormal:100:0.3"), 100 * std::exp(0.3 * 0.3 / 2), 1);
  EXPECT_NEAR(mean("exponential:50"), 50, 1.5);
  EXPECT_LE(Spread::parse("lognormal:100:2:150", limits)->most(), 150);
}

}  // namespace
}  // namespace switchyard
