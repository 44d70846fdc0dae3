// Log: events as key=value lines on stderr, so that people and programs can read them.
// Standard output is not used: it carries the one line that says where the node listens.
#pragma once

#include <concepts>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include "engine/base/result.h"

namespace spdlog {
class logger;
}

namespace switchyard {

struct LogField {
  template <typename Value>
  LogField(std::string_view field_key, const Value& field_value) : key(field_key) {
    if constexpr (std::is_arithmetic_v<Value>) {
      value = std::to_string(field_value);
    } else {
      value = field_value;
    }
  }
  std::string_view key;
  std::string value;
};

using LogFields = std::initializer_list<LogField>;

// `event key=value ...`; values are quoted when they need it and never break the line.
std::string log_line(std::string_view event, LogFields fields);

// Any thread.
class Log {
 public:
  // `level`: trace, debug, info, warn, error, off.
  explicit Log(const std::string& level);
  ~Log();

  void debug(std::string_view event, LogFields fields = {});
  void info(std::string_view event, LogFields fields = {});
  void warn(std::string_view event, LogFields fields = {});
  void error(std::string_view event, LogFields fields = {});

 private:
  std::unique_ptr<spdlog::logger> logger_;
};

}  // namespace switchyard
