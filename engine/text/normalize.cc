#include "engine/text/normalize.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "engine/text/tokenizer_json.h"
#include "engine/text/unicode.h"

namespace switchyard {
namespace {

using CodePoint = utf8proc_int32_t;

// Everything below U+0300 is its own NFC and doesn't compose with what follows below U+0300;
// in UTF-8 that is every character whose first byte is below 0xCC.
bool is_trivially_nfc(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char byte) { return static_cast<uint8_t>(byte) < 0xCC; });
}

utf8proc_propval_t combining_class(CodePoint code_point) {
  return utf8proc_get_property(code_point)->combining_class;
}

void append_decomposition(CodePoint code_point, std::vector<CodePoint>& out) {
  std::array<CodePoint, 32> parts{};  // the longest canonical decomposition has 4
  int boundary_class = 0;
  const utf8proc_ssize_t count = utf8proc_decompose_char(
      code_point, parts.data(), parts.size(),
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE), &boundary_class);
  CHECK(count >= 0 && count <= static_cast<utf8proc_ssize_t>(parts.size()));
  out.insert(out.end(), parts.begin(), parts.begin() + count);
}

// Marks between two starters sort stably by class. utf8proc can do it, but in quadratic time.
void order_canonically(std::vector<CodePoint>& text) {
  for (auto at = text.begin(); at != text.end();) {
    if (combining_class(*at) == 0) {
      ++at;
      continue;
    }
    const auto end =
        std::find_if(at, text.end(), [](CodePoint c) { return combining_class(c) == 0; });
    std::stable_sort(
        at, end, [](CodePoint a, CodePoint b) { return combining_class(a) < combining_class(b); });
    at = end;
  }
}

std::string to_nfc(std::string_view text) {
  std::vector<CodePoint> code_points;
  code_points.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Utf8Char next = utf8_char_at(text, at);
    append_decomposition(static_cast<CodePoint>(next.code_point), code_points);
    at += next.length;
  }
  order_canonically(code_points);
  const utf8proc_ssize_t count = utf8proc_normalize_utf32(
      code_points.data(), static_cast<utf8proc_ssize_t>(code_points.size()),
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  CHECK(count >= 0 && count <= static_cast<utf8proc_ssize_t>(code_points.size()));
  code_points.resize(static_cast<size_t>(count));
  std::string out;
  out.reserve(text.size());
  for (const CodePoint code_point : code_points) {
    append_utf8(static_cast<char32_t>(code_point), out);
  }
  return out;
}

}  // namespace

Normalization parse_normalization(const JsonNode& normalizer) {
  if (normalizer.is_null()) return Normalization::kNone;
  if (!normalizer.is_object()) return Normalization::kNone;
  const std::string type = normalizer.text("type");
  if (type == "NFC") return Normalization::kNfc;
  if (type != "Sequence") {
    normalizer.fail_unsupported("type");
    return Normalization::kNone;
  }
  Normalization all = Normalization::kNone;  // NFC is idempotent: once is as good as twice
  for (const JsonNode& part : normalizer["normalizers"].elements()) {
    if (parse_normalization(part) == Normalization::kNfc) all = Normalization::kNfc;
  }
  return all;
}

std::string normalized(Normalization normalization, std::string_view text) {
  if (normalization == Normalization::kNone || is_trivially_nfc(text)) return std::string(text);
  return to_nfc(text);
}

}  // namespace switchyard
