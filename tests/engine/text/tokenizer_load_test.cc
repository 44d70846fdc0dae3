// Documents that the tokenizer refuses, and what it says about them.
#include <gmock/gmock.h>

#include <functional>

#include "tests/engine/text/tokenizer_fixtures.h"

namespace switchyard {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

Status refusal(const json& document) { return Tokenizer::parse(document.dump()).status(); }

// Each case breaks the tiny document and expects the complaint to name the place and the matter.
struct BrokenDocument {
  const char* name;
  std::function<void(json&)> break_it;
  const char* place;
  const char* matter;
};

void PrintTo(const BrokenDocument& broken, std::ostream* out) { *out << broken.name; }

json one_split(json split) {
  return {{"type", "Sequence"}, {"pretokenizers", {std::move(split), {{"type", "ByteLevel"}}}}};
}

const BrokenDocument kBroken[] = {
    {"UnknownNormalizer",
     [](json& d) {
       d["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "Lowercase"}}}}};
     },
     "normalizer.normalizers[0].type", "\"Lowercase\" is not supported"},
    {"UnknownPreTokenizer",
     [](json& d) {
       d["pre_tokenizer"] = one_split({{"type", "Metaspace"}});
     },
     "pre_tokenizer.pretokenizers[0].type", "\"Metaspace\" is not supported"},
    {"NoByteLevel",
     [](json& d) {
       d["pre_tokenizer"] = {{"type", "Digits"}, {"individual_digits", true}};
     },
     "pre_tokenizer", "ByteLevel"},
    {"NoPreTokenizer", [](json& d) { d.erase("pre_tokenizer"); }, "pre_tokenizer", "object"},
    {"SplitAfterByteLevel",
     [](json& d) {
       d["pre_tokenizer"]["pretokenizers"].push_back(d["pre_tokenizer"]["pretokenizers"][0]);
     },
     "pre_tokenizer.pretokenizers[2]", "follows ByteLevel"},
    {"TooManySplits",
     [](json& d) {
       json& parts = d["pre_tokenizer"]["pretokenizers"];
       for (int i = 0; i < 20; ++i) parts.insert(parts.begin(), parts[0]);
     },
     "pre_tokenizer.pretokenizers[16]", "limit 16"},
    {"BadPattern",
     [](json& d) { d["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(a"; },
     "pre_tokenizer.pretokenizers[0].pattern", "regular expression"},
    {"LongPattern",
     [](json& d) {
       d["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = std::string(20000, 'a');
     },
     "pre_tokenizer.pretokenizers[0].pattern", "20000 bytes"},
    {"NoPattern", [](json& d) { d["pre_tokenizer"]["pretokenizers"][0].erase("pattern"); },
     "pre_tokenizer.pretokenizers[0].pattern", "expected an object"},
    {"UnknownBehavior",
     [](json& d) { d["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Merged"; },
     "pre_tokenizer.pretokenizers[0].behavior", "\"Merged\" is not supported"},
    {"InvertIsNoBoolean", [](json& d) { d["pre_tokenizer"]["pretokenizers"][0]["invert"] = "yes"; },
     "pre_tokenizer.pretokenizers[0].invert", "expected a boolean, found string"},
    {"OtherModel", [](json& d) { d["model"]["type"] = "Unigram"; }, "model.type", "\"Unigram\""},
    {"ByteFallback", [](json& d) { d["model"]["byte_fallback"] = true; }, "model.byte_fallback",
     "not supported"},
    {"Dropout", [](json& d) { d["model"]["dropout"] = 0.1; }, "model.dropout", "not supported"},
    {"WordSuffix", [](json& d) { d["model"]["end_of_word_suffix"] = "</w>"; },
     "model.end_of_word_suffix", "not supported"},
    {"UnknownUnknown", [](json& d) { d["model"]["unk_token"] = "<unk>"; }, "model.unk_token",
     "not in model.vocab"},
    {"VocabIsAnArray", [](json& d) { d["model"]["vocab"] = json::array(); }, "model.vocab",
     "expected an object"},
    {"NegativeId", [](json& d) { d["model"]["vocab"]["ab"] = -1; }, "model.vocab.ab",
     "no token id"},
    {"FractionalId", [](json& d) { d["model"]["vocab"]["ab"] = 1.5; }, "model.vocab.ab",
     "no token id"},
    {"HugeId", [](json& d) { d["model"]["vocab"]["ab"] = 1 << 24; }, "model.vocab.ab",
     "no token id"},
    {"SparseIds", [](json& d) { d["model"]["vocab"]["ab"] = (1 << 24) - 1; }, "model.vocab",
     "highest id"},
    {"RepeatedId", [](json& d) { d["model"]["vocab"]["ab"] = 257; }, "model.vocab.abc",
     "257 is the id of another token too"},
    {"NoMerges", [](json& d) { d["model"].erase("merges"); }, "model.merges", "expected an array"},
    {"MergeOfThree", [](json& d) { d["model"]["merges"][0] = "a b c"; }, "model.merges[0]",
     "left right"},
    {"MergeOfNumbers",
     [](json& d) {
       d["model"]["merges"][1] = {1, 2};
     },
     "model.merges[1]", "left right"},
    {"MergeOfAStranger", [](json& d) { d["model"]["merges"][0] = "a xyz"; }, "model.merges[0]",
     "right part is not in model.vocab"},
    {"MergeIntoAStranger", [](json& d) { d["model"]["merges"][0] = "b a"; }, "model.merges[0]",
     "product is not in model.vocab"},
    {"AddedTokensAreNoArray", [](json& d) { d["added_tokens"] = 3; }, "added_tokens",
     "expected an array"},
    {"AddedTokenWithoutContent", [](json& d) { d["added_tokens"][0].erase("content"); },
     "added_tokens[0].content", "expected a string"},
    {"EmptyAddedToken", [](json& d) { d["added_tokens"][0]["content"] = ""; },
     "added_tokens[0].content", "0 bytes"},
    {"LongAddedToken", [](json& d) { d["added_tokens"][0]["content"] = std::string(257, 'x'); },
     "added_tokens[0].content", "257 bytes"},
    {"RepeatedAddedId", [](json& d) { d["added_tokens"][1]["id"] = 300; }, "added_tokens[1].id",
     "occurs twice"},
    {"RepeatedAddedContent", [](json& d) { d["added_tokens"][1]["content"] = "<s>"; },
     "added_tokens[1].content", "occurs twice"},
    {"AddedIdOfAnotherToken", [](json& d) { d["added_tokens"][1]["id"] = 256; },
     "added_tokens[1].id", "another token in model.vocab"},
    {"AddedContentWithAnotherId", [](json& d) { d["added_tokens"][1]["content"] = "ab"; },
     "added_tokens[1].id", "model.vocab says 256"},
    {"OtherDecoder", [](json& d) { d["decoder"]["type"] = "WordPiece"; }, "decoder.type",
     "\"WordPiece\""},
    {"NoDecoder", [](json& d) { d["decoder"] = nullptr; }, "decoder", "expected an object"},
    {"OtherVersion", [](json& d) { d["version"] = "2.0"; }, "version", "\"2.0\""},
    {"OtherPostProcessor", [](json& d) { d["post_processor"]["type"] = "BertProcessing"; },
     "post_processor.type", "\"BertProcessing\""},
    {"TemplateWithoutText", [](json& d) { d["post_processor"]["single"].erase(1); },
     "post_processor.single", "has 0 sequences"},
    {"TemplateWithSecondText",
     [](json& d) { d["post_processor"]["single"][1]["Sequence"]["id"] = "B"; },
     "post_processor.single[1].Sequence.id", "\"B\""},
    {"TemplateWithUndefinedToken", [](json& d) { d["post_processor"].erase("special_tokens"); },
     "post_processor.special_tokens.<s>.ids", "expected an array"},
    {"TemplateWithUnknownId",
     [](json& d) { d["post_processor"]["special_tokens"]["<s>"]["ids"][0] = 299; },
     "post_processor.special_tokens.<s>.ids[0]", "299 is not the id of a token"},
    {"EndlessTemplate",
     [](json& d) {
       d["post_processor"]["special_tokens"]["<s>"]["ids"] = std::vector<int>(1000, 300);
     },
     "post_processor.special_tokens.<s>.ids[256]", "limit 256"},
};

class TokenizerRefuses : public ::testing::TestWithParam<BrokenDocument> {};

TEST_P(TokenizerRefuses, ADocumentAndNamesThePlace) {
  json document = tiny_document();
  GetParam().break_it(document);
  const Status status = refusal(document);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.field(), GetParam().place);
  EXPECT_THAT(status.message(), HasSubstr(GetParam().matter));
}

INSTANTIATE_TEST_SUITE_P(TokenizerLoad,
                         TokenizerRefuses,
                         ::testing::ValuesIn(kBroken),
                         [](const auto& broken) { return std::string(broken.param.name); });

TEST(TokenizerLoad, RefusesWhatIsNotJson) {
  for (const std::string text : {"", "{", "[]", "nonsense", "{\"model\": \xFF}", "\"\\ud800\""}) {
    EXPECT_EQ(Tokenizer::parse(text).status().code(), Code::kInvalidArgument) << text;
  }
}

TEST(TokenizerLoad, RefusesDeepNestingWithoutFollowingIt) {
  const std::string deep = std::string(1 << 20, '[');
  EXPECT_THAT(Tokenizer::parse(deep).status().message(), HasSubstr("nests deeper than 32"));
  json document = tiny_document();
  document["added_tokens"][0]["content"] = std::string(40, '{');  // brackets in strings are text
  EXPECT_TRUE(Tokenizer::parse(document.dump()).ok());
}

TEST(TokenizerLoad, KeepsComplaintsShort) {
  json document = tiny_document();
  document["model"]["type"] = std::string(1 << 20, 'x');
  EXPECT_LT(refusal(document).message().size(), 400u);
}

TEST(TokenizerLoad, NamesTheFile) {
  const Status missing = Tokenizer::load("/nowhere/tokenizer.json").status();
  EXPECT_EQ(missing.code(), Code::kNotFound);
  EXPECT_THAT(missing.message(), HasSubstr("/nowhere/tokenizer.json"));
  const Status not_one = Tokenizer::load(tokenizer_fixture("qwen_subset_vectors.json")).status();
  EXPECT_EQ(not_one.code(), Code::kInvalidArgument);
  EXPECT_THAT(not_one.message(), HasSubstr("qwen_subset_vectors.json"));
}

TEST(TokenizerLoad, IgnoresTruncationAndPadding) {
  json document = tiny_document();
  document["truncation"] = {{"max_length", 1}};
  document["padding"] = {{"strategy", "BatchLongest"}};
  EXPECT_EQ(encoded(tokenizer_of(document), "abc abc").size(), 4u);
}

}  // namespace
}  // namespace switchyard
