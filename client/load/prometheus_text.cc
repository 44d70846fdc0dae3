#include "client/load/prometheus_text.h"

#include <algorithm>
#include <charconv>

#include "client/load/failure.h"

namespace switchyard {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_blank(char c) { return c == ' ' || c == '\t'; }

// One line from left to right. Every take_ either takes what it names or takes nothing.
class Line {
 public:
  explicit Line(std::string_view text) : rest_(text) {}

  [[nodiscard]] bool empty() const { return rest_.empty(); }
  [[nodiscard]] bool starts_with(char c) const { return rest_.starts_with(c); }
  void skip_blanks() {
    while (!rest_.empty() && is_blank(rest_.front())) rest_.remove_prefix(1);
  }
  bool take(char c) {
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  // Names of series may hold colons, names of labels may not.
  std::string_view take_name(std::string_view also) {
    size_t length = 0;
    while (length < rest_.size() &&
           (is_letter(rest_[length]) || also.find(rest_[length]) != std::string_view::npos ||
            (length > 0 && is_digit(rest_[length])))) {
      ++length;
    }
    return take_front(length);
  }
  // After the opening quote, up to and with the closing one.
  bool take_quoted(std::string& value) {
    while (!rest_.empty()) {
      char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') return true;
      if (c == '\\') {
        if (rest_.empty()) return false;
        const char escaped = rest_.front();
        rest_.remove_prefix(1);
        if (escaped != 'n' && escaped != '"' && escaped != '\\') return false;
        c = escaped == 'n' ? '\n' : escaped;
      }
      value += c;
    }
    return false;
  }
  std::string_view take_word() {
    const auto* const end = std::ranges::find_if(rest_, is_blank);
    return take_front(static_cast<size_t>(end - rest_.begin()));
  }

 private:
  std::string_view take_front(size_t length) {
    const std::string_view front = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return front;
  }

  std::string_view rest_;
};

template <typename Number>
bool parse_number(std::string_view word, Number& value) {
  if (word.starts_with('+')) {
    word.remove_prefix(1);
    if (word.starts_with('-')) return false;
  }
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  return error == std::errc() && end == word.data() + word.size() && !word.empty();
}

// What is wrong with the line; empty: nothing.
std::string_view parse_labels(Line& line, const MetricsPageLimits& limits, MetricSeries& series) {
  for (line.skip_blanks(); !line.take('}'); line.skip_blanks()) {
    if (series.labels.size() == limits.labels) return "too many labels";
    auto& [name, value] = series.labels.emplace_back();
    name = line.take_name("");
    if (name.empty()) return "no name of a label where one is due";
    line.skip_blanks();
    if (!line.take('=')) return "no = after the name of a label";
    line.skip_blanks();
    if (!line.take('"') || !line.take_quoted(value)) return "the value of a label is not quoted";
    line.skip_blanks();
    if (!line.take(',') && !line.starts_with('}')) return "labels do not end";
  }
  return {};
}

std::string_view parse_series(Line& line, const MetricsPageLimits& limits, MetricSeries& series) {
  series.name = line.take_name(":");
  if (series.name.empty()) return "no name";
  line.skip_blanks();
  if (line.take('{')) {
    const std::string_view wrong = parse_labels(line, limits, series);
    if (!wrong.empty()) return wrong;
    line.skip_blanks();
  }
  if (!parse_number(line.take_word(), series.value)) return "no number where the value is due";
  line.skip_blanks();
  int64_t timestamp = 0;
  if (!line.empty() && !parse_number(line.take_word(), timestamp)) {
    return "the time of the value is no whole number";
  }
  line.skip_blanks();
  return line.empty() ? std::string_view() : "more after the value than a time";
}

}  // namespace

std::string_view MetricSeries::label(std::string_view label_name) const {
  for (const auto& [name_of, value_of] : labels) {
    if (name_of == label_name) return value_of;
  }
  return {};
}

absl::StatusOr<std::vector<MetricSeries>> parse_prometheus_text(std::string_view page,
                                                                const MetricsPageLimits& limits) {
  std::vector<MetricSeries> all;
  for (size_t number = 1; !page.empty(); ++number) {
    const size_t length = std::min(page.find('\n'), page.size());
    std::string_view text = page.substr(0, length);
    page.remove_prefix(std::min(length + 1, page.size()));
    if (text.ends_with('\r')) text.remove_suffix(1);
    Line line(text);
    line.skip_blanks();
    if (line.empty() || line.starts_with('#')) continue;
    if (all.size() == limits.series) {
      return failure("line ", number, ": more than ", limits.series, " series");
    }
    const std::string_view wrong = parse_series(line, limits, all.emplace_back());
    if (!wrong.empty()) return failure("line ", number, ": ", wrong);
  }
  return all;
}

}  // namespace switchyard
