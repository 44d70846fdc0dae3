#include "engine/text/tokenizer_json.h"

#include <algorithm>

#include "engine/text/unicode.h"

namespace switchyard {
namespace {

constexpr int kMaxDepth = 32;
constexpr int32_t kTokenIdEnd = 1 << 24;

const nlohmann::json kNull;

// Deepest nesting of brackets outside strings. Says nothing about whether they match.
int nesting(std::string_view text) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

// What a message shows of the document: short, and well-formed whatever the document holds.
std::string excerpt(std::string text) {
  constexpr size_t kMaxShown = 160;
  const bool cut = text.size() > kMaxShown;
  if (cut) text.resize(kMaxShown);
  text.resize(find_invalid_utf8(text).value_or(text.size()));
  return cut ? text + "..." : text;
}

}  // namespace

Result<nlohmann::json> parse_tokenizer_json(std::string_view text) {
  if (text.size() > kMaxTokenizerJsonBytes) {
    return Status(Code::kInvalidArgument, "document has ", text.size(), " bytes, limit ",
                  kMaxTokenizerJsonBytes);
  }
  if (nesting(text) > kMaxDepth) {
    return Status(Code::kInvalidArgument, "document nests deeper than ", kMaxDepth, " levels");
  }
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    return Status(Code::kInvalidArgument, "document is not JSON: ", excerpt(error.what()));
  }
}

std::optional<int32_t> token_id_in(const nlohmann::json& value) {
  if (!value.is_number_integer() || value < 0 || value >= kTokenIdEnd) return std::nullopt;
  return value.get<int32_t>();
}

JsonNode JsonNode::operator[](std::string_view key) const {
  std::string path = (path_.empty() ? "" : path_ + ".") + excerpt(std::string(key));
  if (value_->is_object()) {
    const auto found = value_->find(key);
    if (found != value_->end()) return {*found, std::move(path), *first_failure_};
  }
  return {kNull, std::move(path), *first_failure_};
}

JsonNode JsonNode::operator[](size_t index) const {
  std::string path = path_ + "[" + std::to_string(index) + "]";
  const bool has = value_->is_array() && index < value_->size();
  return {has ? (*value_)[index] : kNull, std::move(path), *first_failure_};
}

std::vector<JsonNode> JsonNode::elements() const {
  std::vector<JsonNode> nodes;
  if (!value_->is_array()) {
    fail("expected an array, found ", value_->type_name());
    return nodes;
  }
  for (size_t i = 0; i < value_->size(); ++i) nodes.push_back((*this)[i]);
  return nodes;
}

bool JsonNode::is_object() const {
  if (!value_->is_object()) fail("expected an object, found ", value_->type_name());
  return value_->is_object();
}

bool JsonNode::flag(std::string_view key, bool fallback) const {
  const JsonNode member = (*this)[key];
  if (member.is_null()) return fallback;
  if (member.value().is_boolean()) return member.value().get<bool>();
  member.fail("expected a boolean, found ", member.value().type_name());
  return fallback;
}

std::string JsonNode::text(std::string_view key) const {
  const JsonNode member = (*this)[key];
  if (member.value().is_string()) return member.value().get<std::string>();
  member.fail("expected a string, found ", member.value().type_name());
  return {};
}

int32_t JsonNode::token_id() const {
  const std::optional<int32_t> id = token_id_in(*value_);
  if (!id) fail("expected a token id, an integer in [0, ", kTokenIdEnd, ")");
  return id.value_or(0);
}

void JsonNode::fail_unsupported(std::string_view key) const {
  const std::string name = excerpt(text(key));
  (*this)[key].fail("\"", name, "\" is not supported");
}

}  // namespace switchyard
