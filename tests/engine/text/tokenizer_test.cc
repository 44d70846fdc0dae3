// What callers see of the tokenizer, on a vocabulary small enough to do by hand.
#include "engine/text/tokenizer.h"

#include <gmock/gmock.h>

#include <thread>

#include "tests/engine/text/tokenizer_fixtures.h"

namespace switchyard {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr EncodeOptions kBare{.add_special_tokens = false};
constexpr EncodeOptions kForged{.add_special_tokens = false, .parse_special = false};

TEST(Tokenizer, MergesWithinWordsOnly) {
  const Tokenizer tokenizer = tokenizer_of(tiny_document());
  EXPECT_THAT(encoded(tokenizer, "abc", kBare), ElementsAre(257));
  EXPECT_THAT(encoded(tokenizer, "abab", kBare), ElementsAre(256, 256));
  EXPECT_THAT(encoded(tokenizer, "ab abc", kBare), ElementsAre(256, ' ', 257));
  EXPECT_THAT(encoded(tokenizer, "c ac", kBare), ElementsAre('c', 258, 'c'));
  EXPECT_THAT(encoded(tokenizer, "", kBare), IsEmpty());
}

TEST(Tokenizer, PutsTheFrameAroundTextOnRequest) {
  const Tokenizer tokenizer = tokenizer_of(tiny_document());
  EXPECT_THAT(encoded(tokenizer, "ab"), ElementsAre(300, 256));
  EXPECT_THAT(encoded(tokenizer, ""), ElementsAre(300));
  EXPECT_THAT(encoded(tokenizer, "ab", kBare), ElementsAre(256));
}

TEST(Tokenizer, EncodesAddedTokensBeforeMerges) {
  const Tokenizer tokenizer = tokenizer_of(tiny_document());
  EXPECT_THAT(encoded(tokenizer, "a<s>b<tool>c", kBare), ElementsAre('a', 300, 'b', 301, 'c'));
}

TEST(Tokenizer, KeepsSpecialTokensOutOfPlainText) {
  const Tokenizer tokenizer = tokenizer_of(tiny_document());
  EXPECT_THAT(encoded(tokenizer, "<s>", kForged), ElementsAre('<', 's', '>'));
  EXPECT_THAT(encoded(tokenizer, "<tool>", kForged), ElementsAre(301));
}

TEST(Tokenizer, MakesNoSpecialTokenOfAWordOrOfMerges) {
  nlohmann::json document = tiny_document();
  document["added_tokens"].push_back({{"id", 257}, {"content", "abc"}, {"special", true}});
  for (const bool whole_words_first : {false, true}) {
    document["model"]["ignore_merges"] = whole_words_first;
    const Tokenizer tokenizer = tokenizer_of(document);
    EXPECT_THAT(encoded(tokenizer, "abc", kBare), ElementsAre(257));
    EXPECT_THAT(encoded(tokenizer, "abc", kForged), ElementsAre(256, 'c'));
  }
}

TEST(Tokenizer, TakesWholeWordsBeforeMergesWhenAsked) {
  nlohmann::json document = tiny_document();
  document["model"]["vocab"]["cba"] = 259;
  EXPECT_THAT(encoded(tokenizer_of(document), "cba", kBare), ElementsAre('c', 'b', 'a'));
  document["model"]["ignore_merges"] = true;
  EXPECT_THAT(encoded(tokenizer_of(document), "cba", kBare), ElementsAre(259));
}

TEST(Tokenizer, PrefersTheLongestAddedTokenAtAPlace) {
  nlohmann::json document = tiny_document();
  document["added_tokens"].push_back({{"id", 302}, {"content", "<s><s>"}, {"special", true}});
  EXPECT_THAT(encoded(tokenizer_of(document), "<s><s><s>", kBare), ElementsAre(302, 300));
}

TEST(Tokenizer, GivesWhiteSpaceToOneTokenOnly) {
  nlohmann::json document = tiny_document();
  document["added_tokens"] = nlohmann::json::parse(R"([
    {"id": 300, "content": "<s>", "special": true, "rstrip": true},
    {"id": 302, "content": "<l>", "special": true, "lstrip": true},
    {"id": 303, "content": "\n", "special": false, "normalized": false}])");
  const Tokenizer tokenizer = tokenizer_of(document);
  EXPECT_THAT(encoded(tokenizer, "<s> \n <l>a", kBare), ElementsAre(300, 302, 'a'));
  EXPECT_THAT(encoded(tokenizer, "a\n <l>", kBare), ElementsAre('a', 303, 302));
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8) {
  const Tokenizer tokenizer = tokenizer_of(tiny_document());
  const Status status = tokenizer.encode("ab\xFF").status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.field(), "text");
  EXPECT_THAT(status.message(), HasSubstr("byte 2"));
}

TEST(Tokenizer, RefusesTextThatIsTooLarge) {
  const Tokenizer tokenizer = tokenizer_of(tiny_document());
  const Status status = tokenizer.encode(std::string((16u << 20) + 1, 'a')).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.field(), "text");
}

TEST(Tokenizer, EncodesAMegabyteWithoutASpaceInReasonableTime) {
  const Tokenizer tokenizer = tokenizer_of(tiny_document());
  std::string text;
  for (int i = 0; i < 1 << 18; ++i) text += "abcb";
  const Ids ids = encoded(tokenizer, text, kBare);
  EXPECT_EQ(ids.size(), 2u << 18);
  EXPECT_EQ(tokenizer.decode(ids), text);
}

TEST(Tokenizer, DecodesWhatItEncoded) {
  const Tokenizer tokenizer = tokenizer_of(tiny_document());
  for (const std::string text : {"abc ab", "<s>你好<tool> é", "\n\t \u2028", "a\u0301"}) {
    EXPECT_EQ(tokenizer.decode(encoded(tokenizer, text, kBare)), text);
  }
}

TEST(Tokenizer, DecodesBrokenBytesAsReplacementsAndUnknownIdsAsNothing) {
  const Tokenizer tokenizer = tokenizer_of(tiny_document());
  EXPECT_EQ(tokenizer.decode(Ids{'a', 0xE4, 0xBD, 'b'}), "a\uFFFDb");
  EXPECT_EQ(tokenizer.decode(Ids{0xE4, 0xBD, 0xA0}), "你");
  EXPECT_EQ(tokenizer.decode(Ids{'a', -1, 299, 302, 1 << 30, 'b'}), "ab");
}

TEST(Tokenizer, SkipsSpecialTokensOnRequest) {
  const Tokenizer tokenizer = tokenizer_of(tiny_document());
  EXPECT_EQ(tokenizer.decode(Ids{300, 'a', 301}), "<s>a<tool>");
  EXPECT_EQ(tokenizer.decode(Ids{300, 'a', 301}, {.skip_special = true}), "a<tool>");
}

TEST(Tokenizer, SaysWhatATokenIs) {
  const Tokenizer tokenizer = tokenizer_of(tiny_document());
  EXPECT_EQ(tokenizer.vocab_size(), 302);
  EXPECT_EQ(tokenizer.token_bytes(258), " a");
  EXPECT_EQ(tokenizer.token_bytes(0xE4), "\xE4");
  EXPECT_EQ(tokenizer.token_bytes(300), "<s>");
  EXPECT_EQ(tokenizer.token_bytes(299), "");
  EXPECT_EQ(tokenizer.token_bytes(-1), "");
  EXPECT_TRUE(tokenizer.is_special(300));
  EXPECT_FALSE(tokenizer.is_special(301));
  EXPECT_FALSE(tokenizer.is_special(1 << 30));
  EXPECT_EQ(tokenizer.id_of(" a"), 258);
  EXPECT_EQ(tokenizer.id_of("<s>"), 300);
  EXPECT_EQ(tokenizer.id_of("Ġa"), std::nullopt);
}

TEST(Tokenizer, TakesTheContentOfAnAddedTokenForText) {
  nlohmann::json document = tiny_document();
  document["added_tokens"].push_back({{"id", 302}, {"content", "éé"}});
  const Tokenizer tokenizer = tokenizer_of(document);
  EXPECT_THAT(encoded(tokenizer, "éé", kBare), ElementsAre(302));
  EXPECT_EQ(tokenizer.decode(Ids{302}), "éé");
}

TEST(Tokenizer, SurvivesBeingMoved) {
  Tokenizer first = tokenizer_of(tiny_document());
  const Tokenizer second = std::move(first);
  EXPECT_THAT(encoded(second, "<s>abc", kBare), ElementsAre(300, 257));
  EXPECT_EQ(second.id_of("abc"), 257);
}

TEST(Tokenizer, EncodesOnManyThreadsAtOnce) {
  const Tokenizer tokenizer = tokenizer_of(tiny_document());
  const std::string text = "abc <s> ab cab 你好 <tool>";
  const Ids expected = encoded(tokenizer, text);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 100; ++round) EXPECT_EQ(encoded(tokenizer, text), expected);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace switchyard
