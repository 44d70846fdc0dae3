// Text to token ids and back, as a Hugging Face tokenizer.json describes it: byte-level BPE with
// added tokens. The steps are files of their own: added tokens are found (tokenizer_added_tokens),
// the text between them is normalized (normalize) and cut to words (pretokenize), words become
// tokens (bpe). Renders no chat template and streams nothing (detokenizer.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/text/bpe.h"
#include "engine/text/normalize.h"
#include "engine/text/pretokenize.h"
#include "engine/text/tokenizer_added_tokens.h"
#include "engine/text/tokenizer_post_processor.h"
#include "engine/text/tokenizer_vocabulary.h"

namespace switchyard {

struct EncodeOptions {
  // Puts the post-processor's tokens (beginning of text) around the result.
  bool add_special_tokens = true;
  // Special tokens written in the text become control tokens. Without it they are ordinary text,
  // and no text whatever yields one (but for a vocabulary in which a single byte is special).
  bool parse_special = true;
};

struct DecodeOptions {
  bool skip_special = false;
};

// Immutable after construction: any number of threads may use it at once.
class Tokenizer {
 public:
  // What is not supported, or not consistent, is an invalid argument that names the place in the
  // document ("pre_tokenizer.pretokenizers[1].type"). "truncation" and "padding" are of no
  // concern here and ignored.
  [[nodiscard]] static Result<Tokenizer> parse(std::string_view tokenizer_json);
  [[nodiscard]] static Result<Tokenizer> load(const std::filesystem::path& file);

  // The ids that Hugging Face's tokenizers gives. Text that is not UTF-8, or larger than 16 MiB,
  // is an invalid argument with field "text".
  [[nodiscard]] Result<std::vector<int32_t>> encode(std::string_view text,
                                                    EncodeOptions options = {}) const;

  // The bytes of all tokens, with what is not UTF-8 replaced by U+FFFD. An id that is no token
  // adds nothing. As Hugging Face's, but for added tokens with letters such as "é", which its
  // decoder takes for single bytes.
  [[nodiscard]] std::string decode(std::span<const int32_t> ids, DecodeOptions options = {}) const;

  // What one token adds to the text; may be a part of a character. Added tokens give their
  // content, ids that are no token nothing. Lives as long as the tokenizer.
  [[nodiscard]] std::string_view token_bytes(int32_t id) const { return parts_.tokens.bytes(id); }
  [[nodiscard]] bool is_special(int32_t id) const { return parts_.tokens.is_special(id); }
  // The inverse of token_bytes; of two tokens with the same bytes the added one.
  [[nodiscard]] std::optional<int32_t> id_of(std::string_view bytes) const {
    return parts_.tokens.find(bytes);
  }
  // 1 + the highest id. Some ids below may be no token.
  [[nodiscard]] int32_t vocab_size() const { return parts_.tokens.size(); }

 private:
  struct Parts {
    TokenTable tokens;
    AddedTokenFinder added_in_text;
    AddedTokenFinder added_in_normalized;
    Normalization normalization;
    PreTokenizer pre_tokenizer;
    Bpe bpe;
    TextFrame frame;
  };

  explicit Tokenizer(Parts parts) : parts_(std::move(parts)) {}
  [[nodiscard]] Status append_tokens(std::string_view text,
                                     SpecialTokensInText special,
                                     std::vector<int32_t>& out) const;

  Parts parts_;
};

}  // namespace switchyard
