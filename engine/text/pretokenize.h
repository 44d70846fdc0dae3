// The pre-tokenizer of a tokenizer.json: cuts text into the words that BPE then works on, none of
// which a token can span. Turns no word into tokens (bpe.h).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/text/pretokenize_regex.h"

namespace switchyard {

class JsonNode;

// What becomes of the matches of a Split. With matches M and the text between them T, "TMMT" gives:
enum class SplitBehavior {
  kIsolated,            // T M M T
  kRemoved,             // T T
  kContiguous,          // T MM T
  kMergedWithPrevious,  // TM M T
  kMergedWithNext,      // T M MT
};

// Immutable after construction: any number of threads may cut at once.
class PreTokenizer {
 public:
  using Sink = std::function<void(std::string_view word)>;

  // Reads ByteLevel, or a Sequence of Split and Digits that ends in ByteLevel; complains through
  // the node otherwise. (ByteLevel must be last: what follows would see spelled bytes, not text.)
  [[nodiscard]] static PreTokenizer parse(const JsonNode& pre_tokenizer);

  // Calls `sink` with each word of `text` (well-formed UTF-8), in order. A word is text, not its
  // byte-level spelling, is not empty, and lives until the sink returns. Fails as
  // RegexSearch::next does.
  [[nodiscard]] Status split(std::string_view text, const Sink& sink) const;

 private:
  // First a space is put before text that has none, then the pattern cuts.
  struct Stage {
    bool prepend_space = false;
    std::optional<Regex> pattern = std::nullopt;
    SplitBehavior behavior = SplitBehavior::kIsolated;
    bool invert = false;  // the text between matches is the match
  };

  void add(const JsonNode& node);
  void add_split(const JsonNode& node);
  void add_digits(const JsonNode& node);
  void add_byte_level(const JsonNode& node);
  [[nodiscard]] Status run(size_t stage_index, std::string_view text, const Sink& sink) const;

  std::vector<Stage> stages_;
  bool ends_in_byte_level_ = false;
};

}  // namespace switchyard
