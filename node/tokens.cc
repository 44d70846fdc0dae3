#include "node/tokens.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cctype>

namespace switchyard {
namespace {

constexpr size_t kMostTenantBytes = 64;
constexpr size_t kLeastTokenBytes = 16;
constexpr size_t kMostTokenBytes = 1024;
constexpr std::string_view kDigestPrefix = "sha256:";
constexpr std::string_view kBlanks = " \t\r";

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// Letters, digits and these.
bool is_of(std::string_view text, std::string_view others) {
  return std::ranges::all_of(text, [others](char c) {
    return is_letter_or_digit(c) || others.find(c) != std::string_view::npos;
  });
}

bool is_tenant(std::string_view text) {
  return !text.empty() && text.size() <= kMostTenantBytes && is_of(text, "._-");
}

bool is_token(std::string_view text) {
  if (text.size() < kLeastTokenBytes || text.size() > kMostTokenBytes) return false;
  const size_t end = text.find_last_not_of('=');
  return end != std::string_view::npos && is_of(text.substr(0, end + 1), "-._~+/");
}

std::optional<unsigned> hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return std::nullopt;
}

// The first word of `text`, which loses it.
std::string_view take_word(std::string_view& text) {
  const size_t begin = std::min(text.find_first_not_of(kBlanks), text.size());
  const size_t end = std::min(text.find_first_of(kBlanks, begin), text.size());
  const std::string_view word = text.substr(begin, end - begin);
  text.remove_prefix(end);
  return word;
}

}  // namespace

Tokens::Digest Tokens::digest_of(std::string_view token) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), digest.data());
  return digest;
}

Result<Tokens::Entry> Tokens::parse_line(std::string_view tenant, std::string_view token) {
  if (!is_tenant(tenant)) {
    return Status(Code::kInvalidArgument, "a tenant is 1 to ", kMostTenantBytes,
                  " of A-Z a-z 0-9 . _ -");
  }
  if (!token.starts_with(kDigestPrefix)) {
    if (!is_token(token)) {
      return Status(Code::kInvalidArgument, "a token is ", kLeastTokenBytes, " to ",
                    kMostTokenBytes, " of A-Z a-z 0-9 - . _ ~ + / and = at its end");
    }
    return Entry{.digest = digest_of(token), .tenant = std::string(tenant)};
  }
  token.remove_prefix(kDigestPrefix.size());
  Entry entry{.digest = {}, .tenant = std::string(tenant)};
  bool good = token.size() == 2 * entry.digest.size();
  for (size_t i = 0; good && i < entry.digest.size(); ++i) {
    const auto high = hex_digit(token[2 * i]), low = hex_digit(token[2 * i + 1]);
    good = high && low;
    if (good) entry.digest[i] = static_cast<unsigned char>(*high << 4 | *low);
  }
  if (!good) return Status(Code::kInvalidArgument, "sha256: is not followed by 64 hex digits");
  return entry;
}

const Tokens::Entry* Tokens::find(const Digest& digest) const {
  const Entry* found = nullptr;
  for (const Entry& entry : entries_) {  // all of them, whatever was found
    if (CRYPTO_memcmp(entry.digest.data(), digest.data(), digest.size()) == 0) found = &entry;
  }
  return found;
}

Result<Tokens> Tokens::parse(std::string_view file) {
  Tokens tokens;
  for (int number = 1; !file.empty(); ++number) {
    const size_t end = std::min(file.find('\n'), file.size());
    std::string_view line = file.substr(0, end);
    file.remove_prefix(std::min(end + 1, file.size()));
    const auto wrong = [number](const auto&... why) {
      return Status(Code::kInvalidArgument, "line ", number, ": ", why...);
    };

    const std::string_view tenant = take_word(line);
    if (tenant.empty() || tenant.front() == '#') continue;
    const std::string_view token = take_word(line);
    if (token.empty() || !take_word(line).empty()) {
      return wrong("is not a tenant and a token with blanks between");
    }
    Result<Entry> entry = parse_line(tenant, token);
    if (!entry.ok()) return wrong(entry.status().message());
    if (tokens.find(entry->digest) != nullptr) return wrong("has a token that came before");
    if (tokens.entries_.size() == kMost) return wrong("is one token more than ", kMost);
    tokens.entries_.push_back(std::move(*entry));
  }
  if (tokens.entries_.empty()) return Status(Code::kInvalidArgument, "has no token");
  return tokens;
}

std::optional<std::string_view> Tokens::tenant_of(std::string_view token) const {
  const Entry* entry = find(digest_of(token));
  if (entry == nullptr) return std::nullopt;
  return entry->tenant;
}

std::optional<std::string_view> bearer_token(std::string_view authorization) {
  constexpr std::string_view kScheme = "bearer";
  std::string_view rest = authorization;
  const std::string_view scheme = take_word(rest);
  const auto same = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) == static_cast<unsigned char>(b);
  };
  if (!std::ranges::equal(scheme, kScheme, same)) return std::nullopt;
  const std::string_view token = take_word(rest);
  if (token.empty() || !take_word(rest).empty()) return std::nullopt;
  return token;
}

}  // namespace switchyard
