// Byte-pair encoding: turns one word (bytes) into tokens by applying merges, lowest rank first.
// Cuts no words (pretokenize.h) and knows no added tokens.
// Sennrich et al. 2016 (arXiv:1508.07909), on bytes as in GPT-2.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer_vocabulary.h"

namespace switchyard {

// Immutable after construction: any number of threads may encode at once, each with its Scratch.
class Bpe {
 private:
  // The symbols of a word form a linked list; merging keeps the left one and unlinks the right.
  struct Symbol {
    int32_t id;  // kGone once merged into the symbol before it
    int32_t previous;
    int32_t next;
  };

 public:
  // Memory that calls reuse.
  class Scratch {
    friend class Bpe;
    std::vector<Symbol> symbols_;
    std::vector<uint64_t> candidates_;  // heap of rank << 32 | position of the left symbol
  };

  // Reads "model"; complains through the node about another type of model, an option that
  // byte-level BPE doesn't have, and merges of unknown tokens. Merges whose product is a special
  // token are left out, as special tokens are as whole words: ordinary text never becomes a control
  // token here.
  [[nodiscard]] static Bpe parse(const JsonNode& model,
                                 const SpelledVocabulary& vocabulary,
                                 const TokenTable& tokens);

  // Appends the tokens of `word`, in O(n log n) for n bytes. A byte that the vocabulary lacks
  // becomes the unknown token or, without one, nothing. `tokens` is the table given to parse.
  void encode(std::string_view word,
              const TokenTable& tokens,
              Scratch& scratch,
              std::vector<int32_t>& out) const;

 private:
  struct Merge {
    uint32_t rank;
    int32_t product;
  };

  void parse_merges(const JsonNode& merges,
                    const SpelledVocabulary& vocabulary,
                    const TokenTable& tokens);
  [[nodiscard]] const Merge* find_merge(int32_t left, int32_t right) const;
  void split_to_bytes(std::string_view word, Scratch& scratch) const;
  void push_candidate(int32_t left, Scratch& scratch) const;
  void apply_merges(Scratch& scratch) const;

  std::array<int32_t, 256> byte_ids_{};  // kGone where the vocabulary has none
  std::optional<int32_t> unknown_;
  bool fuse_unknown_ = false;
  bool whole_words_first_ = false;  // "ignore_merges"
  absl::flat_hash_map<uint64_t, Merge> merges_;
};

}  // namespace switchyard
