#include "node/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <algorithm>
#include <array>
#include <cstdio>

namespace switchyard {
namespace {

void append_quoted(std::string_view value, std::string& out) {
  out += '"';
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      std::array<char, 5> escape{};
      std::snprintf(escape.data(), escape.size(), "\\x%02x", byte);
      out += escape.data();
    } else {
      out += c;
    }
  }
  out += '"';
}

bool is_plain(std::string_view value) {
  return !value.empty() && std::ranges::all_of(value, [](char c) {
    return c > 0x20 && c < 0x7f && c != '"' && c != '\\' && c != '=';
  });
}

}  // namespace

std::string log_line(std::string_view event, LogFields fields) {
  std::string line(event);
  for (const LogField& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    if (is_plain(field.value)) {
      line += field.value;
    } else {
      append_quoted(field.value, line);
    }
  }
  return line;
}

Log::Log(const std::string& level)
    : logger_(std::make_unique<spdlog::logger>("node",
                                               std::make_shared<spdlog::sinks::stderr_sink_mt>())) {
  logger_->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
  logger_->set_level(spdlog::level::from_str(level));
}

Log::~Log() = default;

void Log::debug(std::string_view event, LogFields fields) {
  if (logger_->should_log(spdlog::level::debug)) logger_->debug(log_line(event, fields));
}
void Log::info(std::string_view event, LogFields fields) {
  if (logger_->should_log(spdlog::level::info)) logger_->info(log_line(event, fields));
}
void Log::warn(std::string_view event, LogFields fields) {
  if (logger_->should_log(spdlog::level::warn)) logger_->warn(log_line(event, fields));
}
void Log::error(std::string_view event, LogFields fields) {
  if (logger_->should_log(spdlog::level::err)) logger_->error(log_line(event, fields));
}

}  // namespace switchyard
