// The tokenizer against ids and texts that Hugging Face's tokenizers computed.
#include <zlib.h>

#include "tests/engine/text/tokenizer_fixtures.h"

namespace switchyard {
namespace {

using nlohmann::json;

const std::filesystem::path kShared =
    std::filesystem::path(SWITCHYARD_SOURCE_DIR) / "../shared/data/tokenizers";

std::string gunzipped(const std::filesystem::path& path) {
  std::string text;
  std::vector<char> buffer(1 << 16);
  const gzFile file = gzopen(path.c_str(), "rb");
  for (int count = 0;
       (count = gzread(file, buffer.data(), static_cast<unsigned>(buffer.size()))) > 0;) {
    text.append(buffer.data(), static_cast<size_t>(count));
  }
  gzclose(file);
  return text;
}

void expect_vectors(const Tokenizer& tokenizer, const json& vectors) {
  ASSERT_FALSE(vectors.empty());
  for (const json& vector : vectors) {
    const auto text = vector["text"].get<std::string>();
    EXPECT_EQ(encoded(tokenizer, text), vector["ids"].get<Ids>()) << vector["text"];
    EXPECT_EQ(tokenizer.decode(vector["ids"].get<Ids>()), vector["decoded"].get<std::string>());
  }
}

// Also with special tokens taken for text, and skipped.
void expect_all_of_vectors(const Tokenizer& tokenizer, const json& vectors) {
  expect_vectors(tokenizer, vectors);
  for (const json& vector : vectors) {
    EXPECT_EQ(encoded(tokenizer, vector["text"].get<std::string>(),
                      {.add_special_tokens = false, .parse_special = false}),
              vector["plain"].get<Ids>())
        << vector["text"];
    EXPECT_EQ(tokenizer.decode(vector["ids"].get<Ids>(), {.skip_special = true}),
              vector["skipped"].get<std::string>());
  }
}

TEST(TokenizerVectors, AgreesOnTheWholeQwenTokenizer) {
  if (!std::filesystem::exists(kShared)) GTEST_SKIP() << "no " << kShared;
  const Result<Tokenizer> tokenizer =
      Tokenizer::parse(gunzipped(kShared / "qwen.tokenizer.json.gz"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  expect_vectors(*tokenizer, read_json(kShared / "qwen_vectors.json")["qwen"]);
}

TEST(TokenizerVectors, AgreesOnAPartOfQwenTokenizer) {
  const Result<Tokenizer> tokenizer = Tokenizer::load(tokenizer_fixture("qwen_subset.json"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  expect_vectors(*tokenizer, read_json(tokenizer_fixture("qwen_subset_vectors.json")));
}

TEST(TokenizerVectors, AgreesOnEveryConfiguration) {
  const json base = read_json(tokenizer_fixture("qwen_subset.json"));
  for (const json& configuration : read_json(tokenizer_fixture("configurations.json"))) {
    SCOPED_TRACE(configuration["name"].get<std::string>());
    json document = base;
    document.merge_patch(configuration["patch"]);
    expect_all_of_vectors(tokenizer_of(document), configuration["vectors"]);
  }
}

TEST(TokenizerVectors, AgreesOnTheDemoModel) {
  SCOPED_TRACE("a new demo tokenizer wants new vectors: make_configurations.py");
  const Result<Tokenizer> tokenizer = Tokenizer::load(std::filesystem::path(SWITCHYARD_SOURCE_DIR) /
                                                      "deploy/demo-model/tokenizer.json");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  expect_all_of_vectors(*tokenizer, read_json(tokenizer_fixture("demo_vectors.json")));
}

}  // namespace
}  // namespace switchyard
