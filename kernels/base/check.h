// CHECK: our own broken invariants stop the process, loudly, with the place and the values.
// Never used for what a caller or the outside world can cause.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

namespace switchyard {

[[noreturn]] inline void check_failed(const char* file,
                                      int line,
                                      const char* condition,
                                      const std::string& detail = {}) {
  std::fprintf(stderr, "%s:%d: CHECK(%s) failed%s%s\n", file, line, condition,
               detail.empty() ? "" : ": ", detail.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace switchyard

#define CHECK(condition)                                          \
  do {                                                            \
    if (!(condition)) [[unlikely]]                                \
      ::switchyard::check_failed(__FILE__, __LINE__, #condition); \
  } while (false)

// For a Status or a Result<T> that must be ok.
#define CHECK_OK(expression)                                                   \
  do {                                                                         \
    const auto& check_ok_value = (expression);                                 \
    if (!check_ok_value.ok()) [[unlikely]]                                     \
      ::switchyard::check_failed(__FILE__, __LINE__, #expression,              \
                                 ::switchyard::check_message(check_ok_value)); \
  } while (false)

namespace switchyard {

template <typename T>
std::string check_message(const T& value) {
  if constexpr (requires { value.message(); }) {
    return value.message();
  } else {
    return value.status().message();
  }
}

}  // namespace switchyard
