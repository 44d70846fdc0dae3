// The tokens of a tokenizer: which id has which bytes, and which ids are added or special.
// Two spellings meet here and nowhere else: tokenizer.json writes vocabulary tokens in the byte
// alphabet (unicode_byte_level.h) and added tokens as plain text. Knows no merges and cuts nothing.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"

namespace switchyard {

class JsonNode;

// One entry of "added_tokens": a text that becomes this one id wherever it occurs, before words are
// cut.
struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;      // controls the model; skipped on request when decoding
  bool single_word = false;  // not inside a longer run of word characters
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and after it
  bool normalized = false;   // looked for after normalization, not before
};

// Vocabulary tokens as tokenizer.json spells them; views into the document.
using SpelledVocabulary = absl::flat_hash_map<std::string_view, int32_t>;

// Read "model.vocab" and "added_tokens"; complain through the node about ids that repeat or lie
// outside [0, 2^24).
[[nodiscard]] SpelledVocabulary parse_vocabulary(const JsonNode& vocab);
[[nodiscard]] std::vector<AddedToken> parse_added_tokens(const JsonNode& added_tokens,
                                                         const SpelledVocabulary& vocabulary);

// Immutable after construction. Ids come from outside: every id is a legal argument.
class TokenTable {
 public:
  // Fails when more than 2^20 ids below the highest are not in use: holes cost memory.
  [[nodiscard]] static Result<TokenTable> build(const SpelledVocabulary& vocabulary,
                                                const std::vector<AddedToken>& added);

  // 1 + the highest id.
  [[nodiscard]] int32_t size() const { return static_cast<int32_t>(entries_.size()); }
  [[nodiscard]] bool contains(int32_t id) const { return kind(id) != Kind::kUnused; }
  [[nodiscard]] bool is_special(int32_t id) const { return kind(id) == Kind::kSpecial; }

  // What the token adds to a text: the content of an added token, the bytes of another (which may
  // be a part of a character). Empty for an id that is not in use. Lives as long as the table.
  [[nodiscard]] std::string_view bytes(int32_t id) const;

  // The added token with this content, or the vocabulary token with these bytes.
  [[nodiscard]] std::optional<int32_t> find(std::string_view bytes) const;
  // The vocabulary token with these bytes, if it is not special.
  [[nodiscard]] std::optional<int32_t> find_word(std::string_view bytes) const;

 private:
  enum class Kind : uint8_t { kUnused, kWord, kAdded, kSpecial };
  struct Entry {
    uint32_t begin = 0;
    uint32_t size = 0;
    Kind kind = Kind::kUnused;
  };
  using Index = absl::flat_hash_map<std::string_view, int32_t>;

  TokenTable() = default;
  [[nodiscard]] Kind kind(int32_t id) const;
  [[nodiscard]] Entry store(std::string_view bytes, Kind kind);
  [[nodiscard]] std::string_view view(const Entry& entry) const;

  std::vector<char> arena_;  // never moves its contents once the indexes are built
  std::vector<Entry> entries_;
  Index added_;
  Index words_;
};

}  // namespace switchyard
