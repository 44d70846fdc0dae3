// A value inside a JSON document together with the path that leads to it, so that every complaint
// names its place ("pre_tokenizer.pretokenizers[0].pattern"). Reading never fails on the spot: the
// first complaint is kept in one Status and getters go on with a harmless value; who owns that
// Status looks at it once at the end. Not a parser (nlohmann/json is) and not a schema.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"

namespace switchyard {

inline constexpr size_t kMaxTokenizerJsonBytes = 64u << 20;

// Parses text of bounded size and nesting. The message of a failure says where.
[[nodiscard]] Result<nlohmann::json> parse_tokenizer_json(std::string_view text);

// A token id: an integer in [0, 2^24).
[[nodiscard]] std::optional<int32_t> token_id_in(const nlohmann::json& value);

class JsonNode {
 public:
  // Borrows the document and the Status; both outlive the node and its children.
  JsonNode(const nlohmann::json& document, Status& first_failure)
      : value_(&document), first_failure_(&first_failure) {}

  [[nodiscard]] const nlohmann::json& value() const { return *value_; }
  [[nodiscard]] bool is_null() const { return value_->is_null(); }

  // The member or element; null when this isn't an object or array that has it.
  [[nodiscard]] JsonNode operator[](std::string_view key) const;
  [[nodiscard]] JsonNode operator[](size_t index) const;
  // The elements of an array. Anything else is a complaint and empty.
  [[nodiscard]] std::vector<JsonNode> elements() const;
  // Complains unless this is an object.
  [[nodiscard]] bool is_object() const;

  // Members of this object. A missing or null one is `fallback`; another type is a complaint.
  [[nodiscard]] bool flag(std::string_view key, bool fallback) const;
  // A missing member is a complaint too.
  [[nodiscard]] std::string text(std::string_view key) const;
  // This value as a token id; complains and gives 0 if it isn't one.
  [[nodiscard]] int32_t token_id() const;

  template <typename... Parts>
  void fail(const Parts&... parts) const {
    if (first_failure_->ok()) {
      *first_failure_ = Status::invalid(path_.empty() ? "document" : path_, parts...);
    }
  }
  // "type "X" is not supported" about the object's member `key`.
  void fail_unsupported(std::string_view key) const;
  [[nodiscard]] bool failed() const { return !first_failure_->ok(); }

 private:
  JsonNode(const nlohmann::json& value, std::string path, Status& first_failure)
      : value_(&value), path_(std::move(path)), first_failure_(&first_failure) {}

  const nlohmann::json* value_;
  std::string path_;
  Status* first_failure_;
};

}  // namespace switchyard
