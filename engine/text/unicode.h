// UTF-8 as bytes: validity, single characters, and repair of a stream that arrives in pieces.
// Knows the two character classes that added tokens ask for, and nothing of normal forms
// (normalize.h). All functions are pure; a Utf8Repairer belongs to one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace switchyard {

// Offset of the first byte that is not part of well-formed UTF-8 (Unicode, table 3-7: no overlong
// forms, no surrogates, nothing above U+10FFFF), or nothing.
[[nodiscard]] std::optional<size_t> find_invalid_utf8(std::string_view text);

struct Utf8Char {
  char32_t code_point = 0;
  size_t length = 0;  // bytes, 1 to 4
};

// The character that starts at, or ends before, `at`. `text` is well-formed and `at` lies on a
// boundary with a character on that side.
[[nodiscard]] Utf8Char utf8_char_at(std::string_view text, size_t at);
[[nodiscard]] Utf8Char utf8_char_before(std::string_view text, size_t at);

void append_utf8(char32_t code_point, std::string& out);

// White_Space, and \w of UTS #18: Alphabetic, Mark, Decimal_Number, Connector_Punctuation,
// Join_Control.
[[nodiscard]] bool is_unicode_space(char32_t code_point);
[[nodiscard]] bool is_unicode_word(char32_t code_point);

// Turns bytes that come in arbitrary pieces into whole characters. Each maximal prefix of a
// character that can't be completed becomes one U+FFFD (Unicode, section 3.9), as soon as that is
// certain. The output doesn't depend on where the input was cut.
class Utf8Repairer {
 public:
  void push(std::string_view bytes, std::string& out);
  // Ends the text: an incomplete character becomes U+FFFD. The repairer is then as new.
  void finish(std::string& out);

 private:
  std::array<char, 3> pending_{};  // the start of a character
  uint8_t pending_count_ = 0;
  uint8_t wanted_ = 0;  // length of that character
};

}  // namespace switchyard
