// Numbers in a text, as printf writes them. Texts of others do not belong in it: 399 bytes are
// kept.
#pragma once

#include <cstdio>
#include <string>

namespace switchyard {

template <typename... Values>
std::string format(const char* pattern, Values... values) {
  char text[400];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}

}  // namespace switchyard
