#include "node/served_model.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

TEST(SamplingDefaults, AreNeutralWhereTheFileSaysNothing) {
  const auto defaults = parse_sampling_defaults(R"({"bos_token_id": 1})");
  ASSERT_TRUE(defaults.ok());
  EXPECT_EQ(defaults->temperature, 1);
  EXPECT_EQ(defaults->top_k, 0);
  EXPECT_EQ(defaults->top_p, 1);
}

TEST(SamplingDefaults, AreTheFilesWhereItSaysSomething) {
  const auto defaults = parse_sampling_defaults(
      R"({"temperature": 0.3, "top_k": 40, "min_p": 0.15, "repetition_penalty": 1.05})");
  ASSERT_TRUE(defaults.ok());
  EXPECT_FLOAT_EQ(defaults->temperature, 0.3F);
  EXPECT_EQ(defaults->top_k, 40);
  EXPECT_FLOAT_EQ(defaults->min_p, 0.15F);
  EXPECT_FLOAT_EQ(defaults->repetition_penalty, 1.05F);
}

TEST(SamplingDefaults, AreGreedyForAModelThatDoesNotSample) {
  EXPECT_EQ(parse_sampling_defaults(R"({"do_sample": false, "temperature": 0.7})")->temperature, 0);
}

TEST(SamplingDefaults, RefuseWhatNoRequestCouldSay) {
  for (const char* text : {R"({"temperature": -1})", R"({"top_p": 0})", R"({"top_k": "many"})",
                           "[]", "{", R"({"min_p": 1})"}) {
    EXPECT_FALSE(parse_sampling_defaults(text).ok()) << text;
  }
}

}  // namespace
}  // namespace switchyard
