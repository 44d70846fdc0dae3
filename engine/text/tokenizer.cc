#include "engine/text/tokenizer.h"

#include <fstream>
#include <system_error>

#include "engine/text/detokenizer.h"
#include "engine/text/tokenizer_json.h"
#include "engine/text/unicode.h"

namespace switchyard {
namespace {

// A word of n bytes takes 20 n bytes of scratch while it is merged.
constexpr size_t kMaxTextBytes = 16u << 20;

}  // namespace

Result<Tokenizer> Tokenizer::parse(std::string_view tokenizer_json) {
  const Result<nlohmann::json> document = parse_tokenizer_json(tokenizer_json);
  if (!document.ok()) return document.status();
  Status failure;
  const JsonNode root(*document, failure);
  if (!root.is_object()) return failure;
  if (!root["version"].is_null() && root.text("version") != "1.0") root.fail_unsupported("version");
  if (root["decoder"].is_object() && root["decoder"].text("type") != "ByteLevel") {
    root["decoder"].fail_unsupported("type");
  }

  const SpelledVocabulary vocabulary = parse_vocabulary(root["model"]["vocab"]);
  const std::vector<AddedToken> added = parse_added_tokens(root["added_tokens"], vocabulary);
  if (!failure.ok()) return failure;
  Result<TokenTable> tokens = TokenTable::build(vocabulary, added);
  if (!tokens.ok()) return tokens.status();

  const Normalization normalization = parse_normalization(root["normalizer"]);
  std::vector<AddedToken> as_written, as_normalized;
  for (const AddedToken& token : added) {
    if (token.normalized) {
      as_normalized.push_back(token);
      as_normalized.back().content = normalized(normalization, token.content);
    } else {
      as_written.push_back(token);
    }
  }
  PreTokenizer pre_tokenizer = PreTokenizer::parse(root["pre_tokenizer"]);
  Bpe bpe = Bpe::parse(root["model"], vocabulary, *tokens);
  TextFrame frame = parse_text_frame(root["post_processor"], *tokens);
  if (!failure.ok()) return failure;
  return Tokenizer({.tokens = std::move(tokens).value(),
                    .added_in_text = AddedTokenFinder(as_written),
                    .added_in_normalized = AddedTokenFinder(as_normalized),
                    .normalization = normalization,
                    .pre_tokenizer = std::move(pre_tokenizer),
                    .bpe = std::move(bpe),
                    .frame = std::move(frame)});
}

Result<Tokenizer> Tokenizer::load(const std::filesystem::path& file) {
  std::error_code error;
  const uintmax_t bytes = std::filesystem::file_size(file, error);
  std::ifstream in(file, std::ios::binary);
  if (error || !in) return Status(Code::kNotFound, file.string(), ": cannot be read");
  if (bytes > kMaxTokenizerJsonBytes) {
    return Status(Code::kInvalidArgument, file.string(), ": has ", bytes, " bytes, limit ",
                  kMaxTokenizerJsonBytes);
  }
  std::string text(bytes, '\0');
  in.read(text.data(), static_cast<std::streamsize>(bytes));
  text.resize(static_cast<size_t>(in.gcount()));
  Result<Tokenizer> tokenizer = parse(text);
  if (!tokenizer.ok()) return tokenizer.status().within(file.string());
  return tokenizer;
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  if (text.size() > kMaxTextBytes) {
    return Status::invalid("text", "has ", text.size(), " bytes, limit ", kMaxTextBytes);
  }
  if (const std::optional<size_t> bad = find_invalid_utf8(text)) {
    return Status::invalid("text", "is not UTF-8 at byte ", *bad);
  }
  std::vector<int32_t> ids;
  if (options.add_special_tokens) ids = parts_.frame.before;
  const Status status = append_tokens(
      text,
      options.parse_special ? SpecialTokensInText::kRecognised : SpecialTokensInText::kPlainText,
      ids);
  if (!status.ok()) return status;
  if (options.add_special_tokens) {
    ids.insert(ids.end(), parts_.frame.after.begin(), parts_.frame.after.end());
  }
  return ids;
}

Status Tokenizer::append_tokens(std::string_view text,
                                SpecialTokensInText special,
                                std::vector<int32_t>& out) const {
  Bpe::Scratch scratch;
  const PreTokenizer::Sink take_word = [&](std::string_view word) {
    parts_.bpe.encode(word, parts_.tokens, scratch, out);
  };
  for (const TextSegment& outer : parts_.added_in_text.split(text, special)) {
    if (outer.id != TextSegment::kNone) {
      out.push_back(outer.id);
      continue;
    }
    const std::string plain = normalized(parts_.normalization, outer.text);
    for (const TextSegment& inner : parts_.added_in_normalized.split(plain, special)) {
      if (inner.id != TextSegment::kNone) {
        out.push_back(inner.id);
        continue;
      }
      Status status = parts_.pre_tokenizer.split(inner.text, take_word);
      if (!status.ok()) return status;
    }
  }
  return {};
}

std::string Tokenizer::decode(std::span<const int32_t> ids, DecodeOptions options) const {
  std::string text;
  Detokenizer detokenizer(*this, options);
  for (const int32_t id : ids) text += detokenizer.push(id);
  text += detokenizer.finish();
  return text;
}

}  // namespace switchyard
