#include "node/units.h"

#include <array>
#include <charconv>
#include <limits>
#include <span>

namespace switchyard {
namespace {

struct Unit {
  std::string_view name;
  int64_t factor;
};

constexpr int64_t kKiB = 1024;
constexpr std::array kByteUnits = {
    Unit{"", 1},
    Unit{"B", 1},
    Unit{"KiB", kKiB},
    Unit{"MiB", kKiB* kKiB},
    Unit{"GiB", kKiB* kKiB* kKiB},
    Unit{"TiB", kKiB* kKiB* kKiB* kKiB},
};
constexpr std::array kDurationUnits = {
    Unit{"h", int64_t{3600} * 1'000'000'000},
    Unit{"m", int64_t{60} * 1'000'000'000},
    Unit{"s", 1'000'000'000},
    Unit{"ms", 1'000'000},
};

struct Syntax {
  std::span<const Unit> units;
  std::string_view example;
};

Result<int64_t> parse(std::string_view flag, std::string_view text, const Syntax& syntax) {
  int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || number < 0) {
    return Status::invalid(flag, "\"", text, "\" is not like ", syntax.example);
  }
  const std::string_view name(rest, static_cast<size_t>(end - rest));
  for (const Unit& unit : syntax.units) {
    if (unit.name != name) continue;
    if (number > std::numeric_limits<int64_t>::max() / unit.factor) {
      return Status::invalid(flag, "\"", text, "\" is too large");
    }
    return number * unit.factor;
  }
  return Status::invalid(flag, "\"", text, "\" is not like ", syntax.example);
}

}  // namespace

Result<int64_t> parse_bytes(std::string_view flag, std::string_view text) {
  return parse(flag, text, {.units = kByteUnits, .example = "4GiB, 512MiB or 1000000"});
}

Result<Duration> parse_duration(std::string_view flag, std::string_view text) {
  const Result<int64_t> nanoseconds =
      parse(flag, text, {.units = kDurationUnits, .example = "90s, 500ms, 2m or 1h"});
  if (!nanoseconds.ok()) return nanoseconds.status();
  return Duration(*nanoseconds);
}

std::string format_duration(Duration duration) {
  for (const Unit& unit : kDurationUnits) {
    if (duration.count() != 0 && duration.count() % unit.factor == 0) {
      return std::to_string(duration.count() / unit.factor) + std::string(unit.name);
    }
  }
  return std::to_string(duration.count() / 1'000'000) + "ms";
}

}  // namespace switchyard
