#include "engine/text/unicode_byte_level.h"

#include <array>
#include <cstdint>

#include "engine/text/unicode.h"

namespace switchyard {
namespace {

constexpr char32_t kFirstOther = 0x100;  // the first character for a byte that isn't printable
constexpr size_t kOthers = 68;

constexpr bool is_printable(size_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<char32_t, 256> make_characters() {
  std::array<char32_t, 256> characters{};
  char32_t next_other = kFirstOther;
  for (size_t byte = 0; byte < 256; ++byte) {
    characters[byte] = is_printable(byte) ? static_cast<char32_t>(byte) : next_other++;
  }
  return characters;
}

constexpr std::array<char32_t, 256> kCharacters = make_characters();

constexpr std::array<int16_t, kFirstOther + kOthers> make_bytes() {
  std::array<int16_t, kFirstOther + kOthers> bytes{};
  for (int16_t& byte : bytes) byte = -1;
  for (size_t byte = 0; byte < 256; ++byte) bytes[kCharacters[byte]] = static_cast<int16_t>(byte);
  return bytes;
}

constexpr std::array<int16_t, kFirstOther + kOthers> kBytes = make_bytes();

}  // namespace

std::optional<std::string> byte_level_bytes(std::string_view spelled) {
  std::string bytes;
  bytes.reserve(spelled.size());
  for (size_t at = 0; at < spelled.size();) {
    const Utf8Char next = utf8_char_at(spelled, at);
    if (next.code_point >= kBytes.size() || kBytes[next.code_point] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kBytes[next.code_point]));
    at += next.length;
  }
  return bytes;
}

std::string byte_level_spelling(std::string_view bytes) {
  std::string spelled;
  for (const char byte : bytes) append_utf8(kCharacters[static_cast<uint8_t>(byte)], spelled);
  return spelled;
}

}  // namespace switchyard
