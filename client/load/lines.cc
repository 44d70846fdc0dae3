#include "client/load/lines.h"

#include <string>

#include "client/load/failure.h"

namespace switchyard {
namespace {

enum class Got { kLine, kTooLong, kEnd };

// Like std::getline, but never holds more than `most` bytes of a line.
Got get_line(std::streambuf& in, size_t most, std::string& line) {
  line.clear();
  constexpr int kEnd = std::char_traits<char>::eof();
  int c = in.sbumpc();
  if (c == kEnd) return Got::kEnd;
  for (; c != kEnd && c != '\n'; c = in.sbumpc()) {
    if (line.size() == most) return Got::kTooLong;
    line.push_back(static_cast<char>(c));
  }
  return Got::kLine;
}

}  // namespace

absl::Status for_each_line(std::istream& in,
                           const LineLimits& limits,
                           const std::function<absl::Status(std::string_view)>& take) {
  std::string line;
  for (size_t number = 1;; ++number) {
    const Got got = get_line(*in.rdbuf(), limits.line_bytes, line);
    if (got == Got::kEnd) return absl::OkStatus();
    absl::Status status;
    if (got == Got::kTooLong) {
      status = failure("is longer than ", limits.line_bytes, " bytes");
    } else if (number > limits.lines) {
      status = failure("is past the limit of ", limits.lines);
    } else if (line.find_first_not_of(" \t\r") != std::string::npos) {
      status = take(line);
    }
    if (!status.ok()) {
      return failure("line ", number, ": ", status.message());
    }
  }
}

}  // namespace switchyard
