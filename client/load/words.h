// Values and texts as one text. The distribution's abseil has a string_view of its own, which its
// string functions insist on; streams take both.
#pragma once

#include <absl/status/status.h>

#include <sstream>
#include <string>
#include <string_view>
#include <utility>

namespace switchyard {

template <typename... Parts>
std::string words(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return std::move(out).str();
}

// The same failure seen from further out.
inline absl::Status within(std::string_view where, const absl::Status& status) {
  return {status.code(), words(where, ": ", status.message())};
}

}  // namespace switchyard
