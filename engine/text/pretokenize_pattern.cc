#include "engine/text/pretokenize_pattern.h"

#include <array>

namespace switchyard {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

constexpr std::string_view kWordClasses = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";

// Walks the pattern once. Each take_* moves past what it read and appends its translation.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : rest_(pattern) {}

  Result<std::string> run() && {
    while (!rest_.empty() && status_.ok()) {
      switch (rest_.front()) {
        case '\\':
          take_escape(Place::kOutside);
          break;
        case '[':
          take_class();
          break;
        case '(':
          take_group();
          break;
        case '{':
          take_interval();
          break;
        default:
          copy(1);
      }
    }
    if (!status_.ok()) return status_;
    return std::move(out_);
  }

 private:
  enum class Place { kOutside, kInClass };

  void refuse(std::string_view what) {
    status_ = Status(Code::kInvalidArgument, "regular expression: ", what, " is not supported");
    rest_ = {};
  }
  void copy(size_t count) {
    out_.append(rest_.substr(0, count));
    rest_.remove_prefix(count);
  }
  void replace(size_t count, std::string_view translation) {
    out_.append(translation);
    rest_.remove_prefix(count);
  }

  void take_escape(Place place) {
    if (rest_.size() < 2) return refuse("a trailing \\");
    const char kind = rest_[1];
    switch (kind) {
      case 's':
        return replace(2, R"(\p{White_Space})");
      case 'S':
        return replace(2, R"(\P{White_Space})");
      case 'd':
        return replace(2, R"(\p{Nd})");
      case 'D':
        return replace(2, R"(\P{Nd})");
      case 'w':
        if (place == Place::kInClass) return replace(2, kWordClasses);
        return replace(2, "[" + std::string(kWordClasses) + "]");
      case 'W':
        if (place == Place::kInClass) return refuse("\\W in a class");
        return replace(2, "[^" + std::string(kWordClasses) + "]");
      case 'v':
        return replace(2, "\\x0b");
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'a':
      case 'e':
        return copy(2);
      case 'A':
      case 'z':
        if (place == Place::kInClass) break;
        return copy(2);
      case 'p':
      case 'P':
        return take_property();
      case 'x':
      case 'u':
        return take_code_point();
      default:
        if (is_letter(kind) || is_digit(kind)) break;
        if (static_cast<unsigned char>(kind) >= 0x80) return replace(1, "");
        return copy(2);
    }
    refuse("\\" + std::string(1, kind));
  }

  // \p{Name} or \p{^Name}: one or two letters are a general category, more are a script.
  void take_property() {
    const size_t close = rest_.find('}');
    if (rest_.size() < 3 || rest_[2] != '{' || close == std::string_view::npos) {
      return refuse("\\p without {name}");
    }
    std::string_view name = rest_.substr(3, close - 3);
    const bool negated = name.starts_with('^');
    if (negated) name.remove_prefix(1);
    for (const char c : name) {
      if (!is_letter(c) && c != '_') return refuse("this \\p{name}");
    }
    if (name.empty()) return refuse("\\p{}");
    const std::string_view script = name.size() > 2 ? "sc:" : "";
    out_.append(rest_.substr(0, 3)).append(negated ? "^" : "").append(script).append(name);
    replace(close + 1, "}");
  }

  // \xHH below 80, \x{H...}, \uHHHH.
  void take_code_point() {
    if (rest_[1] == 'x' && rest_.size() > 2 && rest_[2] == '{') {
      const size_t close = rest_.find('}');
      if (close == std::string_view::npos) return refuse("\\x{ without }");
      return take_hex(3, close - 3, close + 1);
    }
    if (rest_[1] == 'u') return take_hex(2, 4, 6);
    // Oniguruma takes \x80 and above for a raw byte of the encoding.
    if (rest_.size() < 4 || rest_[2] > '7') return refuse("\\x other than \\x00 to \\x7F");
    take_hex(2, 2, 4);
  }

  void take_hex(size_t begin, size_t count, size_t whole) {
    const std::string_view digits = rest_.substr(begin, count);
    bool good = digits.size() == count && count >= 1 && count <= 6;
    for (const char c : digits) good = good && is_hex(c);
    if (!good) return refuse("\\x or \\u without its hexadecimal digits");
    out_.append("\\x{").append(digits);
    replace(whole, "}");
  }

  void take_class() {
    copy(1);
    if (rest_.starts_with('^')) copy(1);
    if (rest_.starts_with(']')) return refuse("] as the first member of a class");
    while (!rest_.empty()) {
      if (rest_.front() == ']') return copy(1);
      if (rest_.front() == '[') return refuse("a class or [:name:] in a class");
      if (rest_.starts_with("&&")) return refuse("&& in a class");
      if (rest_.front() == '\\') {
        take_escape(Place::kInClass);
      } else {
        copy(1);
      }
    }
    if (status_.ok()) refuse("a class without ]");
  }

  void take_group() {
    constexpr std::array<std::string_view, 7> kGroups = {"(?:",  "(?i:", "(?=", "(?!",
                                                         "(?<=", "(?<!", "(?>"};
    if (rest_.starts_with("(*")) return refuse("(*");
    if (!rest_.starts_with("(?")) return copy(1);
    for (const std::string_view group : kGroups) {
      if (rest_.starts_with(group)) return copy(group.size());
    }
    refuse("a group that starts with " + std::string(rest_.substr(0, 3)));
  }

  // {n} {n,} {n,m}, not followed by + or ?.
  void take_interval() {
    size_t at = 1;
    const auto digits = [&] {
      const size_t first = at;
      while (at < rest_.size() && is_digit(rest_[at])) ++at;
      return at - first;
    };
    bool good = digits() > 0;
    if (at < rest_.size() && rest_[at] == ',') {
      ++at;
      digits();
    }
    good = good && at < rest_.size() && rest_[at] == '}';
    if (!good) return refuse("{ other than {n}, {n,} or {n,m}");
    copy(at + 1);
    if (rest_.starts_with('+') || rest_.starts_with('?')) refuse("+ or ? after {n}");
  }

  std::string_view rest_;
  std::string out_;
  Status status_;
};

}  // namespace

Result<std::string> translate_pattern(std::string_view oniguruma) {
  return Translator(oniguruma).run();
}

}  // namespace switchyard
