#include "engine/weights/bounded_json.h"

#include <nlohmann/json.hpp>
#include <string>

namespace switchyard {
namespace {

// Counts what a text would build and builds nothing; stops at the first limit or mistake.
class Counter final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Counter(const JsonLimits& limits) : limits_(limits) {}

  [[nodiscard]] const std::string& problem() const { return problem_; }

  bool null() override { return count(); }
  bool boolean(bool) override { return count(); }
  bool number_integer(number_integer_t) override { return count(); }
  bool number_unsigned(number_unsigned_t) override { return count(); }
  bool number_float(number_float_t, const string_t&) override { return count(); }
  bool string(string_t&) override { return count(); }
  bool binary(binary_t&) override { return count(); }
  bool key(string_t&) override { return true; }
  bool start_object(size_t) override { return count() && enter(); }
  bool start_array(size_t) override { return count() && enter(); }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    problem_ = "bad JSON at byte " + std::to_string(position);
    return false;
  }

 private:
  bool count() {
    if (++values_ <= limits_.values) return true;
    problem_ = "more than " + std::to_string(limits_.values) + " JSON values";
    return false;
  }
  bool enter() {
    if (++depth_ <= limits_.depth) return true;
    problem_ = "JSON nested deeper than " + std::to_string(limits_.depth);
    return false;
  }
  bool leave() {
    --depth_;
    return true;
  }

  const JsonLimits limits_;
  size_t values_ = 0;
  size_t depth_ = 0;
  std::string problem_;
};

}  // namespace

Result<nlohmann::json> parse_bounded_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.bytes) {
    return Status(Code::kInvalidArgument, text.size(), " bytes of JSON, limit ", limits.bytes);
  }
  Counter counter(limits);
  if (!nlohmann::json::sax_parse(text, &counter)) {
    return Status(Code::kInvalidArgument, counter.problem());
  }
  nlohmann::json value = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return Status(Code::kInvalidArgument, "bad JSON");
  return value;
}

}  // namespace switchyard
