#include "engine/text/unicode.h"

#include <utf8proc.h>

#include "kernels/base/check.h"

namespace switchyard {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// What a first byte promises: how many bytes, and the range of the second one. Every later byte is
// 80..BF. Length 0: no character starts so.
struct Lead {
  uint8_t length;
  uint8_t second_low;
  uint8_t second_high;
};

constexpr Lead lead_of(uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

constexpr bool continues(Lead lead, size_t index, uint8_t byte) {
  return index == 1 ? byte >= lead.second_low && byte <= lead.second_high : (byte & 0xC0) == 0x80;
}

}  // namespace

std::optional<size_t> find_invalid_utf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const Lead lead = lead_of(static_cast<uint8_t>(text[at]));
    if (lead.length == 0 || lead.length > text.size() - at) return at;
    for (size_t i = 1; i < lead.length; ++i) {
      if (!continues(lead, i, static_cast<uint8_t>(text[at + i]))) return at;
    }
    at += lead.length;
  }
  return std::nullopt;
}

Utf8Char utf8_char_at(std::string_view text, size_t at) {
  CHECK(at < text.size());
  const auto first = static_cast<uint8_t>(text[at]);
  const size_t length = lead_of(first).length;
  CHECK(length >= 1 && length <= text.size() - at);
  if (length == 1) return {first, 1};
  char32_t code_point = first & (0xFFu >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    code_point = code_point << 6 | (static_cast<uint8_t>(text[at + i]) & 0x3Fu);
  }
  return {code_point, length};
}

Utf8Char utf8_char_before(std::string_view text, size_t at) {
  CHECK(at > 0 && at <= text.size());
  size_t start = at - 1;
  while (start > 0 && (static_cast<uint8_t>(text[start]) & 0xC0) == 0x80) --start;
  return utf8_char_at(text, start);
}

void append_utf8(char32_t code_point, std::string& out) {
  const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

bool is_unicode_space(char32_t code_point) {
  return (code_point >= 0x09 && code_point <= 0x0D) || code_point == 0x20 || code_point == 0x85 ||
         code_point == 0xA0 || code_point == 0x1680 ||
         (code_point >= 0x2000 && code_point <= 0x200A) || code_point == 0x2028 ||
         code_point == 0x2029 || code_point == 0x202F || code_point == 0x205F ||
         code_point == 0x3000;
}

bool is_unicode_word(char32_t code_point) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code_point))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      break;
  }
  // Join_Control, and the symbols that are Alphabetic: circled and squared Latin letters.
  return code_point == 0x200C || code_point == 0x200D ||
         (code_point >= 0x24B6 && code_point <= 0x24E9) ||
         (code_point >= 0x1F130 && code_point <= 0x1F149) ||
         (code_point >= 0x1F150 && code_point <= 0x1F169) ||
         (code_point >= 0x1F170 && code_point <= 0x1F189);
}

void Utf8Repairer::push(std::string_view bytes, std::string& out) {
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    if (pending_count_ > 0) {
      const Lead lead = lead_of(static_cast<uint8_t>(pending_[0]));
      if (continues(lead, pending_count_, byte)) {
        if (pending_count_ + 1 < wanted_) {
          pending_[pending_count_++] = c;
        } else {
          out.append(pending_.data(), pending_count_);
          out.push_back(c);
          pending_count_ = 0;
        }
        continue;
      }
      finish(out);  // what was held back is broken; `byte` may still start something
    }
    const Lead lead = lead_of(byte);
    if (lead.length == 1) {
      out.push_back(c);
    } else if (lead.length == 0) {
      out.append(kReplacement);
    } else {
      pending_[0] = c;
      pending_count_ = 1;
      wanted_ = lead.length;
    }
  }
}

void Utf8Repairer::finish(std::string& out) {
  if (pending_count_ > 0) out.append(kReplacement);
  pending_count_ = 0;
}

}  // namespace switchyard
