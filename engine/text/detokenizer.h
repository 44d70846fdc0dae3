// Tokens to text as they are generated: gives out a character once all of its bytes are there.
// Finds no stop strings and skips nothing but special tokens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/text/tokenizer.h"
#include "engine/text/unicode.h"

namespace switchyard {

// The text of one sequence. A value: copying it forks the sequence. Borrows the tokenizer; belongs
// to one thread. The pieces, put together, are Tokenizer::decode of all the ids.
class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer, DecodeOptions options = {})
      : tokenizer_(&tokenizer), options_(options) {}

  // What `id` makes certain: whole characters, U+FFFD for bytes that can't be part of one, or
  // nothing yet. The view lives until the next call.
  [[nodiscard]] std::string_view push(int32_t id);
  // Ends the sequence: U+FFFD for a character that stayed incomplete, else nothing.
  [[nodiscard]] std::string_view finish();

 private:
  const Tokenizer* tokenizer_;
  DecodeOptions options_;
  Utf8Repairer repairer_;
  std::string piece_;  // reused, so that a step doesn't allocate
};

}  // namespace switchyard
