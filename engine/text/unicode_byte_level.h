// GPT-2's reversible spelling of bytes as printable characters, as vocabularies of byte-level BPE
// are written: printable Latin-1 stands for itself, the other 68 bytes for U+0100 onwards (a space
// is U+0120). Not a text encoding: it says nothing about characters of the text.
// Source: openai/gpt-2, src/encoder.py, bytes_to_unicode.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace switchyard {

// The bytes that `spelled` (well-formed UTF-8) stands for; nothing when some character is outside
// the alphabet.
[[nodiscard]] std::optional<std::string> byte_level_bytes(std::string_view spelled);

// The inverse: defined for all bytes.
[[nodiscard]] std::string byte_level_spelling(std::string_view bytes);

}  // namespace switchyard
