// Finds added tokens in a text: at each place the longest one that starts there, left to right.
// Knows their contents and where they may stand; what is between them is somebody else's.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer_vocabulary.h"

namespace switchyard {

enum class SpecialTokensInText { kRecognised, kPlainText };

// A part of a text: one added token, or text without any (then `id` is kNone).
struct TextSegment {
  static constexpr int32_t kNone = -1;
  std::string_view text;
  int32_t id = kNone;
};

// Immutable after construction: any number of threads may search at once.
class AddedTokenFinder {
 public:
  // `added` with the contents to look for (normalized ones already are). Of two with the same
  // content the special one counts, then the first.
  explicit AddedTokenFinder(const std::vector<AddedToken>& added);

  // Cuts `text` (well-formed UTF-8) into segments, in order, none of them empty text. White space
  // that a token takes along (lstrip, rstrip) belongs to no other segment. Time is the size of
  // `text` times the longest content.
  [[nodiscard]] std::vector<TextSegment> split(std::string_view text,
                                               SpecialTokensInText special) const;

 private:
  struct Match {
    const AddedToken* token = nullptr;
    size_t size = 0;
  };

  [[nodiscard]] Match longest_at(std::string_view text) const;

  std::vector<AddedToken> tokens_;
  // A trie: node << 8 | byte -> child; node 0 is the root.
  absl::flat_hash_map<uint64_t, uint32_t> children_;
  absl::flat_hash_map<uint32_t, uint32_t> token_at_;  // node -> index in tokens_
  std::bitset<256> first_bytes_;
};

}  // namespace switchyard
