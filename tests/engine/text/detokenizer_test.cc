// Streamed text: whole characters as soon as they are certain, and in sum what decode gives.
#include "engine/text/detokenizer.h"

#include <random>

#include "tests/engine/text/tokenizer_fixtures.h"

namespace switchyard {
namespace {

TEST(Detokenizer, HoldsBackAnIncompleteCharacter) {
  const Tokenizer tokenizer = tokenizer_of(tiny_document());
  Detokenizer detokenizer(tokenizer);
  EXPECT_EQ(detokenizer.push(0xF0), "");
  EXPECT_EQ(detokenizer.push(0x9F), "");
  EXPECT_EQ(detokenizer.push(0x98), "");
  EXPECT_EQ(detokenizer.push(0x80), "😀");
  EXPECT_EQ(detokenizer.push('a'), "a");
  EXPECT_EQ(detokenizer.finish(), "");
}

TEST(Detokenizer, ReplacesBytesOnceTheyCanNoLongerBecomeACharacter) {
  const Tokenizer tokenizer = tokenizer_of(tiny_document());
  Detokenizer detokenizer(tokenizer);
  EXPECT_EQ(detokenizer.push(0xE4), "");
  EXPECT_EQ(detokenizer.push(256), "\uFFFDab");
  EXPECT_EQ(detokenizer.push(0xFF), "\uFFFD");
  EXPECT_EQ(detokenizer.push(0xE4), "");
  EXPECT_EQ(detokenizer.finish(), "\uFFFD");
  EXPECT_EQ(detokenizer.finish(), "");
}

TEST(Detokenizer, SkipsSpecialTokensEvenWithinACharacter) {
  const Tokenizer tokenizer = tokenizer_of(tiny_document());
  Detokenizer detokenizer(tokenizer, {.skip_special = true});
  EXPECT_EQ(detokenizer.push(0xC3), "");
  EXPECT_EQ(detokenizer.push(300), "");
  EXPECT_EQ(detokenizer.push(0xA9), "é");
  EXPECT_EQ(detokenizer.push(301), "<tool>");
}

TEST(Detokenizer, GivesNothingForIdsThatAreNoToken) {
  const Tokenizer tokenizer = tokenizer_of(tiny_document());
  Detokenizer detokenizer(tokenizer);
  for (const int32_t id : {-1, 299, 302, 1 << 30}) EXPECT_EQ(detokenizer.push(id), "");
}

TEST(Detokenizer, ForksWhenCopied) {
  const Tokenizer tokenizer = tokenizer_of(tiny_document());
  Detokenizer first(tokenizer);
  EXPECT_EQ(first.push(0xC3), "");
  Detokenizer second = first;
  EXPECT_EQ(first.push(0xA9), "é");
  EXPECT_EQ(second.push(0xA8), "è");
}

TEST(Detokenizer, AddsUpToDecodeForAnyIds) {
  const Result<Tokenizer> tokenizer = Tokenizer::load(tokenizer_fixture("qwen_subset.json"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  Ids real;  // those ids that are tokens
  for (int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
    if (!tokenizer->token_bytes(id).empty()) real.push_back(id);
  }
  std::mt19937_64 random(11);
  for (int round = 0; round < 1000; ++round) {
    Ids ids;
    std::string streamed;
    Detokenizer detokenizer(*tokenizer);
    for (size_t i = random() % 30; i > 0; --i) {
      const size_t range = round % 2 == 0 ? real.size() : 256;  // or only bytes
      ids.push_back(random() % 20 == 0 ? -5 : real[random() % range]);
      const std::string piece(detokenizer.push(ids.back()));
      EXPECT_FALSE(find_invalid_utf8(piece));
      streamed += piece;
    }
    streamed += detokenizer.finish();
    EXPECT_EQ(streamed, tokenizer->decode(ids));
  }
}

}  // namespace
}  // namespace switchyard
