// Documents that the tokenizer tests share: committed ones, and a tiny one built in place.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/text/tokenizer.h"
#include "engine/text/unicode_byte_level.h"

namespace switchyard {

using Ids = std::vector<int32_t>;

inline std::filesystem::path tokenizer_fixture(const std::string& name) {
  return std::filesystem::path(SWITCHYARD_SOURCE_DIR) / "tests/fixtures/tokenizer" / name;
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(read_text(path));
}

// Ids 0 to 255 are the bytes, then "ab" = 256, "abc" = 257, " a" = 258; added tokens are
// "<s>" = 300 (special) and "<tool>" = 301. Words are what whitespace separates, with the space
// before them.
inline nlohmann::json tiny_document() {
  nlohmann::json document = nlohmann::json::parse(R"({
    "version": "1.0",
    "added_tokens": [
      {"id": 300, "content": "<s>", "special": true},
      {"id": 301, "content": "<tool>", "special": false, "normalized": false}],
    "normalizer": null,
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": " ?[^ ]+| +"}, "behavior": "Isolated", "invert": false},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [300], "tokens": ["<s>"]}}},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"ab": 256, "abc": 257, "Ġa": 258},
              "merges": ["a b", ["ab", "c"], "Ġ a"]}})");
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    document["model"]["vocab"][byte_level_spelling({&c, 1})] = byte;
  }
  return document;
}

inline Tokenizer tokenizer_of(const nlohmann::json& document) {
  Result<Tokenizer> tokenizer = Tokenizer::parse(document.dump());
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return std::move(tokenizer).value();
}

inline Ids encoded(const Tokenizer& tokenizer, std::string_view text, EncodeOptions options = {}) {
  Result<Ids> ids = tokenizer.encode(text, options);
  EXPECT_TRUE(ids.ok()) << ids.status().message();
  return ids.ok() ? *ids : Ids();
}

}  // namespace switchyard
