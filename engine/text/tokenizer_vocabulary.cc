#include "engine/text/tokenizer_vocabulary.h"

#include <absl/container/flat_hash_set.h>

#include <algorithm>

#include "engine/text/tokenizer_json.h"
#include "engine/text/unicode_byte_level.h"

namespace switchyard {
namespace {

constexpr int64_t kMaxUnusedIds = 1 << 20;
constexpr size_t kMaxAddedTokenBytes = 256;

}  // namespace

SpelledVocabulary parse_vocabulary(const JsonNode& vocab) {
  SpelledVocabulary vocabulary;
  if (!vocab.is_object()) return vocabulary;
  const auto& tokens = vocab.value().get_ref<const nlohmann::json::object_t&>();
  vocabulary.reserve(tokens.size());
  absl::flat_hash_set<int32_t> ids;
  ids.reserve(tokens.size());
  for (const auto& [token, value] : tokens) {
    const std::optional<int32_t> id = token_id_in(value);
    if (!id || !ids.insert(*id).second) {
      vocab[token].fail(value.dump(), id ? " is the id of another token too" : " is no token id");
      break;
    }
    vocabulary.emplace(token, *id);
  }
  return vocabulary;
}

std::vector<AddedToken> parse_added_tokens(const JsonNode& added_tokens,
                                           const SpelledVocabulary& vocabulary) {
  std::vector<AddedToken> added;
  absl::flat_hash_map<int32_t, std::string_view> spelling_of;
  for (const auto& [token, id] : vocabulary) spelling_of.emplace(id, token);
  absl::flat_hash_set<std::string> contents;
  absl::flat_hash_set<int32_t> ids;
  if (added_tokens.is_null()) return added;
  for (const JsonNode& node : added_tokens.elements()) {
    if (!node.is_object()) break;
    AddedToken token{.id = node["id"].token_id(),
                     .content = node.text("content"),
                     .special = node.flag("special", false),
                     .single_word = node.flag("single_word", false),
                     .lstrip = node.flag("lstrip", false),
                     .rstrip = node.flag("rstrip", false)};
    token.normalized = node.flag("normalized", !token.special);
    if (token.content.empty() || token.content.size() > kMaxAddedTokenBytes) {
      node["content"].fail("has ", token.content.size(), " bytes, want 1 to ", kMaxAddedTokenBytes);
    }
    if (!contents.insert(token.content).second) node["content"].fail("occurs twice");
    if (!ids.insert(token.id).second) node["id"].fail("occurs twice: ", token.id);
    const auto same_text = vocabulary.find(token.content);
    const auto same_id = spelling_of.find(token.id);
    if (same_text != vocabulary.end() && same_text->second != token.id) {
      node["id"].fail("is ", token.id, ", but model.vocab says ", same_text->second);
    }
    if (same_id != spelling_of.end() && same_id->second != token.content) {
      node["id"].fail(token.id, " is another token in model.vocab");
    }
    added.push_back(std::move(token));
  }
  return added;
}

Result<TokenTable> TokenTable::build(const SpelledVocabulary& vocabulary,
                                     const std::vector<AddedToken>& added) {
  int32_t highest = -1;
  for (const auto& [token, id] : vocabulary) highest = std::max(highest, id);
  for (const AddedToken& token : added) highest = std::max(highest, token.id);
  const int64_t used_at_most = static_cast<int64_t>(vocabulary.size() + added.size());
  if (highest - used_at_most > kMaxUnusedIds) {
    return Status::invalid("model.vocab", "the highest id is ", highest, ", but there are only ",
                           used_at_most, " tokens");
  }

  TokenTable table;
  table.entries_.resize(static_cast<size_t>(highest) + 1);
  std::vector<std::pair<int32_t, Entry>> words;  // those whose bytes can occur in a text
  for (const auto& [token, id] : vocabulary) {
    const std::optional<std::string> bytes = byte_level_bytes(token);
    const Entry entry = table.store(bytes ? *bytes : token, Kind::kWord);
    table.entries_[static_cast<size_t>(id)] = entry;
    if (bytes) words.emplace_back(id, entry);
  }
  for (const AddedToken& token : added) {
    table.entries_[static_cast<size_t>(token.id)] =
        table.store(token.content, token.special ? Kind::kSpecial : Kind::kAdded);
  }
  // Views into the arena only from here on, when it has stopped growing.
  for (const AddedToken& token : added) table.added_.emplace(table.bytes(token.id), token.id);
  table.words_.reserve(words.size());
  for (const auto& [id, entry] : words) {
    if (!table.is_special(id)) table.words_.emplace(table.view(entry), id);
  }
  return table;
}

TokenTable::Entry TokenTable::store(std::string_view bytes, Kind kind) {
  const Entry entry{static_cast<uint32_t>(arena_.size()), static_cast<uint32_t>(bytes.size()),
                    kind};
  arena_.insert(arena_.end(), bytes.begin(), bytes.end());
  return entry;
}

std::string_view TokenTable::view(const Entry& entry) const {
  return {arena_.data() + entry.begin, entry.size};
}

TokenTable::Kind TokenTable::kind(int32_t id) const {
  return id >= 0 && id < size() ? entries_[static_cast<size_t>(id)].kind : Kind::kUnused;
}

std::string_view TokenTable::bytes(int32_t id) const {
  return contains(id) ? view(entries_[static_cast<size_t>(id)]) : std::string_view();
}

std::optional<int32_t> TokenTable::find(std::string_view bytes) const {
  const auto found = added_.find(bytes);
  return found != added_.end() ? std::optional(found->second) : find_word(bytes);
}

std::optional<int32_t> TokenTable::find_word(std::string_view bytes) const {
  const auto found = words_.find(bytes);
  return found != words_.end() ? std::optional(found->second) : std::nullopt;
}

}  // namespace switchyard
