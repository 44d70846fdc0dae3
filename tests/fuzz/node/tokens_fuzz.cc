// Any bytes as a tokens file, and after a zero byte as an authorization value: refused with a line,
// or tokens of which this may be one.
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "node/tokens.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t cut = std::min(text.find('\0'), text.size());
  const auto token = bearer_token(cut < text.size() ? text.substr(cut + 1) : std::string_view());
  if (token) CHECK(!token->empty() && token->find(' ') == std::string_view::npos);
  const Result<Tokens> tokens = Tokens::parse(text.substr(0, cut));
  if (!tokens.ok()) {
    CHECK(!tokens.status().message().empty());
    return 0;
  }
  CHECK(tokens->size() > 0 && tokens->size() <= Tokens::kMost);
  const auto tenant = tokens->tenant_of(token.value_or("nobody's"));
  if (tenant) CHECK(!tenant->empty() && tenant->size() <= 64);
  return 0;
}
