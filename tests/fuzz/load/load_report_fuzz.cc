// Any bytes as a report, and after a zero byte as the one that it is held against (without one,
// itself): refused in words, or a table.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <string_view>

#include "client/load/compare.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t cut = std::min(text.find('\0'), text.size());
  const auto base = parse_report(text.substr(0, cut));
  if (!base.ok()) {
    require(!base.status().message().empty());
    return 0;
  }
  const auto now = cut < text.size() ? parse_report(text.substr(cut + 1)) : base;
  if (!now.ok()) return 0;
  const auto changes = compare_reports(*base, *now);
  if (!changes.ok()) {
    require(!changes.status().message().empty());
    return 0;
  }
  require(!changes->empty());
  std::ostringstream out;
  const bool good = write_changes(*changes, 0.05, out);
  // Nothing is worse than itself.
  require(good || cut < text.size());
  require(out.str().find('\x1b') == std::string::npos);
  return 0;
}
