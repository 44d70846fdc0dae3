#include "engine/text/bpe.h"

#include <algorithm>
#include <functional>
#include <string>

#include "engine/text/tokenizer_json.h"
#include "engine/text/unicode_byte_level.h"

namespace switchyard {
namespace {

constexpr int32_t kGone = -1;  // no symbol, no token

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

std::optional<int32_t> find(const SpelledVocabulary& vocabulary, std::string_view token) {
  const auto found = vocabulary.find(token);
  return found != vocabulary.end() ? std::optional(found->second) : std::nullopt;
}

// "a b" or ["a", "b"].
std::optional<std::pair<std::string_view, std::string_view>> pair_of(const nlohmann::json& merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return std::pair<std::string_view, std::string_view>(merge[0].get_ref<const std::string&>(),
                                                         merge[1].get_ref<const std::string&>());
  }
  if (!merge.is_string()) return std::nullopt;
  const std::string_view both = merge.get_ref<const std::string&>();
  const size_t space = both.find(' ');
  if (space == std::string_view::npos || both.find(' ', space + 1) != std::string_view::npos) {
    return std::nullopt;
  }
  return std::pair(both.substr(0, space), both.substr(space + 1));
}

}  // namespace

Bpe Bpe::parse(const JsonNode& model,
               const SpelledVocabulary& vocabulary,
               const TokenTable& tokens) {
  Bpe bpe;
  if (!model.is_object()) return bpe;
  if (!model["type"].is_null() && model.text("type") != "BPE") model.fail_unsupported("type");
  if (model.flag("byte_fallback", false)) model["byte_fallback"].fail("is not supported");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model[affix].is_null() && model.text(affix) != "") model[affix].fail("is not supported");
  }
  const nlohmann::json& dropout = model["dropout"].value();
  if (!dropout.is_null() && dropout != 0) model["dropout"].fail("is not supported");

  bpe.whole_words_first_ = model.flag("ignore_merges", false);
  bpe.fuse_unknown_ = model.flag("fuse_unk", false);
  if (!model["unk_token"].is_null()) {
    bpe.unknown_ = find(vocabulary, model.text("unk_token"));
    if (!bpe.unknown_) model["unk_token"].fail("is not in model.vocab");
  }
  for (size_t byte = 0; byte < bpe.byte_ids_.size(); ++byte) {
    const char c = static_cast<char>(byte);
    bpe.byte_ids_[byte] = find(vocabulary, byte_level_spelling({&c, 1})).value_or(kGone);
  }
  bpe.parse_merges(model["merges"], vocabulary, tokens);
  return bpe;
}

void Bpe::parse_merges(const JsonNode& merges,
                       const SpelledVocabulary& vocabulary,
                       const TokenTable& tokens) {
  if (!merges.value().is_array()) {
    return merges.fail("expected an array, found ", merges.value().type_name());
  }
  merges_.reserve(merges.value().size());
  std::string product;
  for (size_t rank = 0; rank < merges.value().size(); ++rank) {
    const auto pair = pair_of(merges.value()[rank]);
    if (!pair) return merges[rank].fail("expected \"left right\" or [\"left\", \"right\"]");
    product.assign(pair->first).append(pair->second);
    const std::optional<int32_t> left = find(vocabulary, pair->first);
    const std::optional<int32_t> right = find(vocabulary, pair->second);
    const std::optional<int32_t> merged = find(vocabulary, product);
    if (!left || !right || !merged) {
      return merges[rank].fail("its ",
                               !left    ? "left part"
                               : !right ? "right part"
                                        : "product",
                               " is not in model.vocab");
    }
    if (tokens.is_special(*merged)) continue;
    merges_[pair_key(*left, *right)] = {static_cast<uint32_t>(rank), *merged};
  }
}

const Bpe::Merge* Bpe::find_merge(int32_t left, int32_t right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found != merges_.end() ? &found->second : nullptr;
}

void Bpe::encode(std::string_view word,
                 const TokenTable& tokens,
                 Scratch& scratch,
                 std::vector<int32_t>& out) const {
  if (whole_words_first_) {
    if (const std::optional<int32_t> id = tokens.find_word(word)) return out.push_back(*id);
  }
  split_to_bytes(word, scratch);
  apply_merges(scratch);
  for (const Symbol& symbol : scratch.symbols_) {
    if (symbol.id != kGone) out.push_back(symbol.id);
  }
}

void Bpe::split_to_bytes(std::string_view word, Scratch& scratch) const {
  std::vector<Symbol>& symbols = scratch.symbols_;
  symbols.clear();
  bool after_unknown = false;
  for (const char c : word) {
    const int32_t known = byte_ids_[static_cast<uint8_t>(c)];
    const bool is_unknown = known == kGone;
    const int32_t id = is_unknown ? unknown_.value_or(kGone) : known;
    const bool fused = is_unknown && after_unknown && fuse_unknown_;
    if (id != kGone && !fused) {
      const auto at = static_cast<int32_t>(symbols.size());
      symbols.push_back({.id = id, .previous = at - 1, .next = at + 1});
    }
    after_unknown = is_unknown;
  }
  if (!symbols.empty()) symbols.back().next = kGone;
}

void Bpe::push_candidate(int32_t left, Scratch& scratch) const {
  const Symbol& symbol = scratch.symbols_[left];
  if (symbol.next == kGone) return;
  const Merge* merge = find_merge(symbol.id, scratch.symbols_[symbol.next].id);
  if (merge == nullptr) return;
  scratch.candidates_.push_back(static_cast<uint64_t>(merge->rank) << 32 |
                                static_cast<uint32_t>(left));
}

void Bpe::apply_merges(Scratch& scratch) const {
  std::vector<Symbol>& symbols = scratch.symbols_;
  std::vector<uint64_t>& candidates = scratch.candidates_;
  candidates.clear();
  for (size_t i = 0; i < symbols.size(); ++i) push_candidate(static_cast<int32_t>(i), scratch);
  std::make_heap(candidates.begin(), candidates.end(), std::greater<>());

  const auto push = [&](int32_t left) {
    const size_t before = candidates.size();
    push_candidate(left, scratch);
    if (candidates.size() > before) {
      std::push_heap(candidates.begin(), candidates.end(), std::greater<>());
    }
  };
  while (!candidates.empty()) {
    std::pop_heap(candidates.begin(), candidates.end(), std::greater<>());
    const uint64_t best = candidates.back();
    candidates.pop_back();
    const auto at = static_cast<int32_t>(static_cast<uint32_t>(best));
    Symbol& left = symbols[at];
    if (left.id == kGone || left.next == kGone) continue;
    Symbol& right = symbols[left.next];
    // The pair at this place may be another one by now.
    const Merge* merge = find_merge(left.id, right.id);
    if (merge == nullptr || merge->rank != best >> 32) continue;

    left.id = merge->product;
    left.next = right.next;
    right.id = kGone;
    if (left.next != kGone) symbols[left.next].previous = at;
    if (left.previous != kGone) push(left.previous);
    push(at);
  }
}

}  // namespace switchyard
