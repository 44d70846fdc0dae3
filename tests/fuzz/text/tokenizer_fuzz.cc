// A hostile tokenizer.json: whatever loads must encode and decode a little text.
#include <cstdint>
#include <string_view>

#include "engine/text/tokenizer.h"
#include "engine/text/unicode.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  constexpr size_t kMaxInput = 64 * 1024;
  if (size > kMaxInput) return 0;
  const auto tokenizer = Tokenizer::parse({reinterpret_cast<const char*>(data), size});
  if (!tokenizer.ok()) {
    CHECK(!tokenizer.status().message().empty());
    CHECK(!find_invalid_utf8(tokenizer.status().message()));
    return 0;
  }
  constexpr std::string_view kText = "ab <s>abc\u00e9 e\u0301 12\n\n  <tool> x\u4f60 'S word ";
  for (const bool parse_special : {false, true}) {
    const auto ids = tokenizer->encode(kText, {.parse_special = parse_special});
    if (!ids.ok()) continue;
    for (const int32_t id : *ids) CHECK(id >= 0 && id < tokenizer->vocab_size());
    CHECK(!find_invalid_utf8(tokenizer->decode(*ids)));
  }
  return 0;
}
