// Expected<T>: a value, or in words why there is none. For what the world can get wrong: files,
// pages and replies of others. Carries no code: whoever asks has one way on.
#pragma once

#include <sstream>
#include <string>
#include <utility>
#include <variant>

namespace switchyard {

struct Failure {
  std::string why;
};

// failure("line ", 3, ": no name")
template <typename... Parts>
Failure failure(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return {std::move(out).str()};
}

template <typename T>
class [[nodiscard]] Expected {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): `return value;`
  Expected(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  // NOLINTNEXTLINE(google-explicit-constructor): `return failure("why");`
  Expected(Failure failure) : state_(std::in_place_index<1>, std::move(failure)) {}

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  // Only of one that is not ok().
  [[nodiscard]] const std::string& why() const { return std::get<1>(state_).why; }
  // Only of one that is ok().
  T& operator*() & { return std::get<0>(state_); }
  const T& operator*() const& { return std::get<0>(state_); }
  T&& operator*() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }

 private:
  std::variant<T, Failure> state_;
};

}  // namespace switchyard
