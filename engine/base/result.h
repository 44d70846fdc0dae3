// Status (how an operation ended) and Result<T> (a value, or the Status that says why not).
// The caller's mistakes and the world's failures travel here; broken invariants are CHECKs.
#pragma once

#include <chrono>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "kernels/base/check.h"

namespace switchyard {

// Numbered as google.rpc.Code, so that the edge converts by value.
enum class Code {
  kOk = 0,
  kCancelled = 1,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kUnauthenticated = 16,
};

class [[nodiscard]] Status {
 public:
  Status() = default;  // ok

  template <typename... Parts>
  // NOLINTNEXTLINE(google-explicit-constructor): `return {code, "why"};`
  Status(Code code, const Parts&... parts) : code_(code), message_(join(parts...)) {}

  // `field` names the offending request field, as the API spells it ("sampling.temperature").
  template <typename... Parts>
  static Status invalid(std::string_view field, const Parts&... parts) {
    Status status(Code::kInvalidArgument, field, ": ", parts...);
    status.field_ = field;
    return status;
  }
  // "Not now": worth a retry after `retry_after`. `reason` is a stable machine-readable token
  // such as QUEUE_FULL.
  template <typename... Parts>
  static Status busy(Code code,
                     std::string_view reason,
                     std::chrono::milliseconds retry_after,
                     const Parts&... parts) {
    Status status(code, parts...);
    status.reason_ = reason;
    status.retry_after_ = retry_after;
    return status;
  }
  template <typename... Parts>
  static Status internal(const Parts&... parts) {
    return Status(Code::kInternal, parts...);
  }

  [[nodiscard]] bool ok() const { return code_ == Code::kOk; }
  [[nodiscard]] Code code() const { return code_; }
  [[nodiscard]] const std::string& message() const { return message_; }
  [[nodiscard]] const std::string& field() const { return field_; }
  [[nodiscard]] const std::string& reason() const { return reason_; }
  [[nodiscard]] std::optional<std::chrono::milliseconds> retry_after() const {
    return retry_after_;
  }

  // The same failure seen from further out: "DIR/model.safetensors: <message>".
  [[nodiscard]] Status within(std::string_view context) const {
    Status status = *this;
    status.message_ = std::string(context) + ": " + message_;
    return status;
  }
  [[nodiscard]] Status with_reason(std::string_view reason) const {
    Status status = *this;
    status.reason_ = reason;
    return status;
  }

 private:
  template <typename... Parts>
  static std::string join(const Parts&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    return std::move(out).str();
  }

  Code code_ = Code::kOk;
  std::string message_;
  std::string field_;
  std::string reason_;
  std::optional<std::chrono::milliseconds> retry_after_;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): `return value;`
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  // NOLINTNEXTLINE(google-explicit-constructor): `return status;`
  Result(Status status) : state_(std::in_place_index<1>, std::move(status)) {
    CHECK(!std::get<1>(state_).ok());
  }

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  [[nodiscard]] Status status() const { return ok() ? Status() : std::get<1>(state_); }

  // Ours to have asked ok() first.
  [[nodiscard]] T& value() & {
    CHECK_OK(*this);
    return std::get<0>(state_);
  }
  [[nodiscard]] const T& value() const& {
    CHECK_OK(*this);
    return std::get<0>(state_);
  }
  [[nodiscard]] T&& value() && {
    CHECK_OK(*this);
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Status> state_;
};

}  // namespace switchyard
