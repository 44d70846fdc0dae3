// Patterns in Oniguruma's dialect: what they match, and what is refused rather than misread.
#include "engine/text/pretokenize_regex.h"

#include <gmock/gmock.h>

#include "engine/text/pretokenize_pattern.h"

namespace switchyard {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> matches(std::string_view pattern, std::string_view text) {
  const Result<Regex> regex = Regex::compile(pattern);
  EXPECT_TRUE(regex.ok()) << pattern << " " << regex.status().message();
  std::vector<std::string> found;
  if (!regex.ok()) return found;
  RegexSearch search(*regex, text);
  while (true) {
    const Result<std::optional<TextSpan>> next = search.next();
    EXPECT_TRUE(next.ok()) << next.status().message();
    if (!next.ok() || !*next) return found;
    found.emplace_back(text.substr((*next)->begin, (*next)->end - (*next)->begin));
  }
}

TEST(Regex, UsesUnicodeClasses) {
  EXPECT_THAT(matches(R"(\s+)", "a\u00A0\u3000b\u180Ec\u0085"),
              ElementsAre("\u00A0\u3000", "\u0085"));
  EXPECT_THAT(matches(R"(\w+)", "e\u0301_9 \u24B6-x"), ElementsAre("e\u0301_9", "\u24B6", "x"));
  EXPECT_THAT(matches(R"([^\w\s]+)", "a+b -"), ElementsAre("+", "-"));
  EXPECT_THAT(matches(R"(\d)", "1\u0661\u00B2"), ElementsAre("1", "\u0661"));
  EXPECT_THAT(matches(R"(\p{Han}+)", "你好\u3002x"), ElementsAre("你好"));  // not by extension
  EXPECT_THAT(matches(R"(\p{^L}+|\P{N})", "ab1"), ElementsAre("a", "b", "1"));
}

TEST(Regex, FoldsCaseBeyondAscii) {
  EXPECT_THAT(matches("(?i:'s|K)", "'S '\u017F \u212A"), ElementsAre("'S", "'\u017F", "\u212A"));
}

TEST(Regex, MatchesAnchorsAtLines) {
  EXPECT_THAT(matches(R"(^\w|\w$)", "ab\ncd"), ElementsAre("a", "b", "c", "d"));
  EXPECT_THAT(matches(R"(\A\w|\w\z)", "ab\ncd"), ElementsAre("a", "d"));
}

TEST(Regex, ReadsCodePoints) {
  EXPECT_THAT(matches(R"(\x41|\x{4f60}|\u597d|\v)", "A你好\x0B"),
              ElementsAre("A", "你", "好", "\x0B"));
}

TEST(Regex, TakesEmptyMatchesOnlyAwayFromTheLastOne) {
  EXPECT_THAT(matches("x*", "axxb"), ElementsAre("", "xx", ""));
  EXPECT_THAT(matches("x*", ""), ElementsAre(""));
  EXPECT_THAT(matches("", "你"), ElementsAre("", ""));
}

TEST(Regex, TakesALiteralLiterally) {
  const Result<Regex> regex = Regex::literal("a.(*\\");
  ASSERT_TRUE(regex.ok());
  const auto span = RegexSearch(*regex, "xa.(*\\").next();
  ASSERT_TRUE(span.ok() && span->has_value());
  EXPECT_EQ((*span)->begin, 1u);
  EXPECT_EQ((*span)->end, 6u);
}

TEST(Regex, RefusesWhatTheDialectsReadDifferently) {
  for (const std::string_view pattern : {R"(\h)",        R"(\b)",     R"(\B)",     R"(\R)",
                                         R"(\X)",        R"(\G)",     R"(\K)",     R"(\1)",
                                         R"(\k<a>)",     R"(\C)",     R"(\Qa\E)",  R"(\xe4)",
                                         R"(\x)",        R"(\u12)",   R"(\x{})",   R"(\x{1234567})",
                                         R"(\p)",        R"(\pL)",    R"(\p{L&})", R"(\p{})",
                                         R"(\p{Alpha})", R"([\W])",   R"([\A])",   R"([[:alpha:]])",
                                         R"([a[b]])",    R"([a&&b])", R"([]a])",   R"([^]a])",
                                         R"([a)",        R"([a\)",    "\\",        "(?m:a)",
                                         "(?i)a",        "(?-i:a)",   "(?<n>a)",   "(?P<n>a)",
                                         "(?R)",         "(?1)",      "(?#a)",     "(?|a)",
                                         "(*ACCEPT)",    "a{2}+",     "a{2}?",     "a{,2}",
                                         "a{",           "a{x}"}) {
    const Result<Regex> regex = Regex::compile(pattern);
    ASSERT_FALSE(regex.ok()) << pattern;
    EXPECT_THAT(regex.status().message(), HasSubstr("regular expression")) << pattern;
  }
}

TEST(Regex, RefusesPatternsThatDoNotCompile) {
  for (const std::string_view pattern : {"(a", "a)", "*a", "a{3,2}", "[z-a]", R"(\p{Klingon})"}) {
    EXPECT_FALSE(Regex::compile(pattern).ok()) << pattern;
  }
  EXPECT_FALSE(Regex::compile(std::string(100, '(') + std::string(100, ')')).ok());
  EXPECT_FALSE(Regex::compile("(?:(?:(?:a{9999}){9999}){9999})").ok());
}

TEST(Regex, GivesUpOnAnExplosion) {
  const Result<Regex> regex = Regex::compile("(?:a+)+b");
  ASSERT_TRUE(regex.ok());
  const std::string text = std::string(5000, 'a') + "cb";
  const Status status = RegexSearch(*regex, text).next().status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.field(), "text");
}

TEST(Regex, MatchesFurtherBackThanTheCompiledCodesStack) {
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += i % 2 == 0 ? "ab" : "c";
  EXPECT_THAT(matches("(?:(ab)|(c))*", text), ElementsAre(text));
}

TEST(Regex, WalksAMegabyteOfSpacesInReasonableTime) {
  const std::string spaces(4 << 20, ' ');
  EXPECT_THAT(matches(R"(\s*[\r\n]+|\s+(?!\S)|\s+)", spaces + "x"),
              ElementsAre(spaces.substr(1), " "));
}

}  // namespace
}  // namespace switchyard
