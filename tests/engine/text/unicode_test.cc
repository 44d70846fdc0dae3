// UTF-8 validity, and the repair of text that arrives in pieces.
#include "engine/text/unicode.h"

#include <gtest/gtest.h>

#include <random>

namespace switchyard {
namespace {

std::string repaired(std::string_view bytes) {
  std::string out;
  Utf8Repairer repairer;
  repairer.push(bytes, out);
  repairer.finish(out);
  return out;
}

TEST(Unicode, AcceptsEveryScalarValueAndReadsItBack) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c == 0xD800) c = 0xE000;
    std::string text;
    append_utf8(c, text);
    ASSERT_FALSE(find_invalid_utf8(text)) << std::hex << static_cast<uint32_t>(c);
    ASSERT_EQ(utf8_char_at(text, 0).code_point, c);
    ASSERT_EQ(utf8_char_before(text, text.size()).code_point, c);
  }
}

TEST(Unicode, RefusesOverlongFormsSurrogatesAndTruncation) {
  for (const std::string_view bad :
       {"\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\x80", "\xE4\xBD", "\xFF"}) {
    EXPECT_EQ(find_invalid_utf8("ok" + std::string(bad)), 2u);
    EXPECT_NE(repaired(bad), bad);
  }
}

TEST(Unicode, ReplacesEachMaximalBrokenPrefixOnce) {
  // The example of Unicode section 3.9, table 3-8.
  EXPECT_EQ(repaired("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd");
  EXPECT_EQ(repaired("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(repaired("\xF0\x9F\x98"), "\uFFFD");
}

TEST(Unicode, RepairsTheSameWhereverTheBytesAreCut) {
  std::mt19937_64 random(7);
  constexpr std::string_view kBytes = "a\x80\xBF\xC2\xC3\xE0\xA0\xE4\xED\xF0\x9F\x98\xF4\x8F\xFF";
  for (int round = 0; round < 2000; ++round) {
    std::string bytes, pieces;
    Utf8Repairer repairer;
    for (size_t i = random() % 20; i > 0; --i) bytes.push_back(kBytes[random() % kBytes.size()]);
    for (size_t at = 0; at < bytes.size();) {
      const size_t count = 1 + random() % 3;
      repairer.push(std::string_view(bytes).substr(at, count), pieces);
      EXPECT_FALSE(find_invalid_utf8(pieces));
      at += count;
    }
    repairer.finish(pieces);
    EXPECT_EQ(pieces, repaired(bytes));
  }
}

TEST(Unicode, GivesAnInvalidByteAsSoonAsItIsCertain) {
  std::string out;
  Utf8Repairer repairer;
  repairer.push("\xE4\xBD", out);
  EXPECT_EQ(out, "");
  repairer.push("x", out);
  EXPECT_EQ(out, "\uFFFDx");
  repairer.push("\xFF", out);
  EXPECT_EQ(out, "\uFFFDx\uFFFD");
}

TEST(Unicode, KnowsSpacesAndWordCharacters) {
  for (const char32_t c : {U' ', U'\t', U'\n', U'\u0085', U'\u00A0', U'\u2003', U'\u3000'}) {
    EXPECT_TRUE(is_unicode_space(c));
    EXPECT_FALSE(is_unicode_word(c));
  }
  for (const char32_t c : {U'a', U'_', U'7', U'é', U'你', U'\u0301', U'\u200D', U'Ⓐ', U'Ⅷ'}) {
    EXPECT_TRUE(is_unicode_word(c));
    EXPECT_FALSE(is_unicode_space(c));
  }
  for (const char32_t c : {U'-', U'.', U'½', U'😀', U'\u180E', U'\u200B'}) {
    EXPECT_FALSE(is_unicode_word(c));
    EXPECT_FALSE(is_unicode_space(c));
  }
}

}  // namespace
}  // namespace switchyard
