// What a chat template may cost, and how evaluating one fails inside this folder.
// Nothing here leaves engine/text as an exception: ChatTemplate turns a TemplateError into a
// Status.
#pragma once

#include <cstddef>
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>

namespace switchyard {

struct TemplateLimits {
  size_t source_bytes = size_t{1} << 20;
  // Of the rendered text, and of any single string made on the way to it.
  size_t output_bytes = size_t{16} << 20;
  // Of all values alive at one moment of a render, the messages included.
  size_t live_bytes = size_t{128} << 20;
  // A step is an evaluated node, a loop iteration, or 256 bytes of text touched.
  int64_t steps = 10'000'000;
  // Of nested blocks and brackets in the source, of macro calls, and of lists within lists.
  int depth = 64;
};

class TemplateError : public std::runtime_error {
 public:
  enum class Kind {
    kSyntax,  // the template is not a template of the supported subset
    kFailed,  // the template does not suit the values that it was given
    kRaised,  // the template said so: raise_exception
    kLimit,   // one of TemplateLimits was reached
  };

  template <typename... Parts>
  explicit TemplateError(Kind kind, const Parts&... parts)
      : std::runtime_error(join(parts...)), kind_(kind) {}

  [[nodiscard]] Kind kind() const { return kind_; }

 private:
  template <typename... Parts>
  static std::string join(const Parts&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    return std::move(out).str();
  }

  Kind kind_;
};

template <typename... Parts>
[[noreturn]] void template_failed(const Parts&... parts) {
  throw TemplateError(TemplateError::Kind::kFailed, parts...);
}

template <typename... Parts>
[[noreturn]] void template_syntax(int line, const Parts&... parts) {
  throw TemplateError(TemplateError::Kind::kSyntax, "line ", line, ": ", parts...);
}

}  // namespace switchyard
