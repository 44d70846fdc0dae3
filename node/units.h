// Sizes and durations as people write them in flags: "4GiB", "90s".
// Knows nothing of which flag it reads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/clock.h"
#include "engine/base/result.h"

namespace switchyard {

// A whole number and one of "", B, KiB, MiB, GiB, TiB. invalid_argument names `flag`.
Result<int64_t> parse_bytes(std::string_view flag, std::string_view text);

// A whole number and one of ms, s, m, h. invalid_argument names `flag`.
Result<Duration> parse_duration(std::string_view flag, std::string_view text);

// The largest unit that divides it: "90s", "1500ms".
std::string format_duration(Duration duration);

}  // namespace switchyard
