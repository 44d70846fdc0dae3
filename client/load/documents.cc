#include "client/load/documents.h"

#include <string>

#include "client/load/failure.h"
#include "client/load/lines.h"

namespace switchyard {
namespace {

constexpr int kEnd = std::char_traits<char>::eof();

bool is_blank(int c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

int peek_past_blanks(std::streambuf& in) {
  int c = in.sgetc();
  while (is_blank(c)) c = in.snextc();
  return c;
}

enum class Got { kElement, kLast, kTooLong, kNothing };

// The text up to the comma or the bracket that ends it, which is taken too.
Got get_element(std::streambuf& in, size_t most, std::string& text) {
  text.clear();
  int depth = 0;
  bool quoted = false;
  bool escaped = false;
  for (int c = in.sbumpc(); c != kEnd; c = in.sbumpc()) {
    if (quoted) {
      if (c == '"' && !escaped) quoted = false;
      escaped = c == '\\' && !escaped;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      ++depth;
    } else if (depth > 0) {
      if (c == ']' || c == '}') --depth;
    } else if (c == ',') {
      return Got::kElement;
    } else if (c == ']') {
      return Got::kLast;
    }
    if (text.size() == most) return Got::kTooLong;
    text.push_back(static_cast<char>(c));
  }
  return Got::kNothing;
}

}  // namespace

absl::Status for_each_document(std::istream& in,
                               const DocumentLimits& limits,
                               const std::function<absl::Status(const nlohmann::json&)>& take) {
  const auto take_text = [&](std::string_view text) {
    const auto json = parse_json(text, {.bytes = limits.bytes});
    return json.ok() ? take(*json) : json.status();
  };
  std::streambuf& bytes = *in.rdbuf();
  if (peek_past_blanks(bytes) != '[') {
    return for_each_line(in, {limits.bytes, limits.count}, take_text);
  }
  bytes.sbumpc();
  if (peek_past_blanks(bytes) == ']') return absl::OkStatus();
  std::string text;
  for (size_t number = 1;; ++number) {
    const Got got = get_element(bytes, limits.bytes, text);
    absl::Status status;
    if (got == Got::kNothing) {
      status = failure("the array does not end");
    } else if (got == Got::kTooLong) {
      status = failure("is longer than ", limits.bytes, " bytes");
    } else if (number > limits.count) {
      status = failure("is past the limit of ", limits.count);
    } else {
      status = take_text(text);
    }
    if (!status.ok()) return failure("element ", number, ": ", status.message());
    if (got == Got::kLast) break;
  }
  if (peek_past_blanks(bytes) != kEnd) return failure("something follows the array");
  return absl::OkStatus();
}

}  // namespace switchyard
