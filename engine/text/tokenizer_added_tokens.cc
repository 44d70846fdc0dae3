#include "engine/text/tokenizer_added_tokens.h"

#include <algorithm>

#include "engine/text/unicode.h"

namespace switchyard {
namespace {

uint64_t edge(uint32_t node, char byte) {
  return static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(byte);
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  const bool joined_before = begin > 0 && is_unicode_word(utf8_char_before(text, begin).code_point);
  const bool joined_after =
      end < text.size() && is_unicode_word(utf8_char_at(text, end).code_point);
  return !joined_before && !joined_after;
}

size_t skip_spaces_before(std::string_view text, size_t at, size_t limit) {
  while (at > limit) {
    const Utf8Char before = utf8_char_before(text, at);
    if (!is_unicode_space(before.code_point)) break;
    at -= before.length;
  }
  return at;
}

size_t skip_spaces_after(std::string_view text, size_t at) {
  while (at < text.size()) {
    const Utf8Char next = utf8_char_at(text, at);
    if (!is_unicode_space(next.code_point)) break;
    at += next.length;
  }
  return at;
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(const std::vector<AddedToken>& added) : tokens_(added) {
  std::stable_partition(tokens_.begin(), tokens_.end(),
                        [](const AddedToken& token) { return token.special; });
  uint32_t nodes = 1;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& content = tokens_[i].content;
    if (content.empty()) continue;  // normalization may leave nothing
    uint32_t node = 0;
    for (const char byte : content) {
      const auto [child, is_new] = children_.try_emplace(edge(node, byte), nodes);
      if (is_new) ++nodes;
      node = child->second;
    }
    first_bytes_.set(static_cast<uint8_t>(content.front()));
    token_at_.try_emplace(node, static_cast<uint32_t>(i));
  }
}

AddedTokenFinder::Match AddedTokenFinder::longest_at(std::string_view text) const {
  Match longest;
  if (!first_bytes_.test(static_cast<uint8_t>(text.front()))) return longest;
  uint32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto child = children_.find(edge(node, text[i]));
    if (child == children_.end()) break;
    node = child->second;
    const auto token = token_at_.find(node);
    if (token != token_at_.end()) longest = {&tokens_[token->second], i + 1};
  }
  return longest;
}

std::vector<TextSegment> AddedTokenFinder::split(std::string_view text,
                                                 SpecialTokensInText special) const {
  std::vector<TextSegment> segments;
  size_t taken = 0;  // text before this is in a segment
  for (size_t at = 0; at < text.size();) {
    const Match match = longest_at(text.substr(at));
    if (match.token == nullptr) {
      ++at;
      continue;
    }
    const AddedToken& token = *match.token;
    size_t begin = at;
    size_t end = at + match.size;
    at = end;  // a match that is turned down still hides those that overlap it
    if (token.special && special == SpecialTokensInText::kPlainText) continue;
    if (token.single_word && !stands_alone(text, begin, end)) continue;
    if (token.lstrip) begin = skip_spaces_before(text, begin, taken);
    if (token.rstrip) end = skip_spaces_after(text, end);
    if (taken < begin) segments.push_back({text.substr(taken, begin - taken)});
    segments.push_back({text.substr(begin, end - begin), token.id});
    taken = at = end;
  }
  if (taken < text.size()) segments.push_back({text.substr(taken)});
  return segments;
}

}  // namespace switchyard
