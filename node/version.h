// What this build calls itself.
#pragma once

#include <string_view>

namespace switchyard {

inline constexpr std::string_view kVersion = SWITCHYARD_VERSION;

}  // namespace switchyard
