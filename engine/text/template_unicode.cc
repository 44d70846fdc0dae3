// Python's str by code points. See the header.
#include "engine/text/template_unicode.h"

#include <utf8proc.h>

#include <cstring>

#include "engine/text/unicode.h"

namespace switchyard {

namespace {

bool starts_code_point(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

char32_t upper_of(char32_t character) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(character)));
}

char32_t lower_of(char32_t character) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(character)));
}

bool is_cased(char32_t character) {
  return upper_of(character) != character || lower_of(character) != character;
}

void append_upper(char32_t character, std::string& out) {
  if (character == U'\u00DF') {  // sharp s: the one common character that grows
    out += "SS";
  } else {
    append_utf8(upper_of(character), out);
  }
}

void append_title(char32_t character, std::string& out) {
  if (character == U'\u00DF') {
    out += "Ss";
  } else {
    append_utf8(static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(character))),
                out);
  }
}

bool strips(char32_t character, std::string_view bytes, const StripSet& characters) {
  if (!characters) return is_python_space(character);
  return characters->find(bytes) != std::string_view::npos;
}

template <typename Visit>
void for_each_code_point(std::string_view text, const Visit& visit) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Char next = utf8_char_at(text, at);
    visit(next.code_point);
    at += next.length;
  }
}

}  // namespace

size_t code_point_count(std::string_view text) {
  size_t count = 0;
  for (const char byte : text) count += starts_code_point(byte) ? 1 : 0;
  return count;
}

size_t code_point_offset(std::string_view text, size_t index) {
  size_t at = 0;
  for (; at < text.size(); ++at) {
    if (!starts_code_point(text[at])) continue;
    if (index == 0) return at;
    --index;
  }
  return at;
}

std::vector<std::string_view> code_points_of(std::string_view text) {
  std::vector<std::string_view> points;
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_char_at(text, at).length;
    points.push_back(text.substr(at, length));
    at += length;
  }
  return points;
}

std::string reversed_text(std::string_view text) {
  std::string reversed;
  reversed.reserve(text.size());
  for (size_t end = text.size(); end > 0;) {
    const size_t length = utf8_char_before(text, end).length;
    reversed += text.substr(end - length, length);
    end -= length;
  }
  return reversed;
}

bool is_python_space(char32_t code_point) {
  return (code_point >= 0x1C && code_point <= 0x1F) || is_unicode_space(code_point);
}

bool is_python_printable(char32_t code_point) {
  if (code_point == U' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code_point))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

std::string_view strip_left(std::string_view text, StripSet characters) {
  while (!text.empty()) {
    const Utf8Char first = utf8_char_at(text, 0);
    if (!strips(first.code_point, text.substr(0, first.length), characters)) break;
    text.remove_prefix(first.length);
  }
  return text;
}

std::string_view strip_right(std::string_view text, StripSet characters) {
  while (!text.empty()) {
    const Utf8Char last = utf8_char_before(text, text.size());
    if (!strips(last.code_point, text.substr(text.size() - last.length), characters)) break;
    text.remove_suffix(last.length);
  }
  return text;
}

std::string_view strip_both(std::string_view text, StripSet characters) {
  return strip_left(strip_right(text, characters), characters);
}

std::string upper_case(std::string_view text) {
  std::string out;
  for_each_code_point(text, [&](char32_t character) { append_upper(character, out); });
  return out;
}

std::string lower_case(std::string_view text) {
  std::string out;
  for_each_code_point(text, [&](char32_t character) { append_utf8(lower_of(character), out); });
  return out;
}

std::string capitalized(std::string_view text) {
  if (text.empty()) return {};
  const Utf8Char first = utf8_char_at(text, 0);
  std::string out;
  append_title(first.code_point, out);
  return out + lower_case(text.substr(first.length));
}

std::string title_case(std::string_view text) {
  std::string out;
  bool inside_word = false;
  for_each_code_point(text, [&](char32_t character) {
    if (inside_word) {
      append_utf8(lower_of(character), out);
    } else {
      append_title(character, out);
    }
    inside_word = is_cased(character);
  });
  return out;
}

bool is_lower_case(std::string_view text) {
  bool some = false;
  bool all = true;
  for_each_code_point(text, [&](char32_t character) {
    if (lower_of(character) != character) all = false;
    if (is_cased(character)) some = true;
  });
  return some && all;
}

bool is_upper_case(std::string_view text) {
  bool some = false;
  bool all = true;
  for_each_code_point(text, [&](char32_t character) {
    if (upper_of(character) != character) all = false;
    if (is_cased(character)) some = true;
  });
  return some && all;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  const auto ends_line = [](char32_t character) {
    return (character >= 0x0A && character <= 0x0D) || (character >= 0x1C && character <= 0x1E) ||
           character == 0x85 || character == 0x2028 || character == 0x2029;
  };
  std::vector<std::string_view> lines;
  size_t start = 0;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char next = utf8_char_at(text, at);
    const size_t end = at;
    at += next.length;
    if (!ends_line(next.code_point)) continue;
    lines.push_back(text.substr(start, end - start));
    if (next.code_point == U'\r' && at < text.size() && text[at] == '\n') ++at;
    start = at;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

size_t find_text(std::string_view text, std::string_view needle, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (needle.empty()) return from;
  // std::string_view::find is quadratic on repetitive text; memmem is two-way.
  const void* found = memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

}  // namespace switchyard
