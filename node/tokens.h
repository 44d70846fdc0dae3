// Tokens: which bearer tokens may call, and whose each is. Kept as SHA-256 digests alone; where
// they come from and when they change is credentials'.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"

namespace switchyard {

// A tokens file, line by line: `TENANT TOKEN` or `TENANT sha256:HEX`, blanks between; empty lines
// and those that begin with # are skipped. A tenant may have several tokens, a token one tenant.
//   TENANT  1 to 64 of A-Z a-z 0-9 . _ -
//   TOKEN   16 to 1024 of A-Z a-z 0-9 - . _ ~ + / and = at its end (RFC 6750)
//   HEX     the SHA-256 of a token, 64 digits
// Immutable: any thread.
class Tokens {
 public:
  static constexpr size_t kMost = 1000;  // each call is compared with all of them

  // invalid_argument says which line is wrong and why, and never what a token is. A file without
  // any token is wrong too.
  static Result<Tokens> parse(std::string_view file);

  // Whose it is. Takes as long for a wrong token as for a right one, whatever they have in common.
  [[nodiscard]] std::optional<std::string_view> tenant_of(std::string_view token) const;

  [[nodiscard]] size_t size() const { return entries_.size(); }

 private:
  using Digest = std::array<unsigned char, 32>;
  struct Entry {
    Digest digest{};
    std::string tenant;
  };
  static Digest digest_of(std::string_view token);
  static Result<Entry> parse_line(std::string_view tenant, std::string_view token);
  [[nodiscard]] const Entry* find(const Digest& digest) const;

  std::vector<Entry> entries_;
};

// The token of an `authorization` value `Bearer TOKEN`; nothing if it is none.
std::optional<std::string_view> bearer_token(std::string_view authorization);

}  // namespace switchyard
