// Reads tokens one after another for the parsers, and counts how deep they have nested.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/template_lexer.h"
#include "engine/text/template_limits.h"

namespace switchyard {

class TemplateTokenStream {
 public:
  using Kind = TemplateToken::Kind;

  // `tokens` ends in kEnd, which is never passed.
  TemplateTokenStream(std::vector<TemplateToken> tokens, int depth_limit)
      : tokens_(std::move(tokens)), depth_limit_(depth_limit) {}

  [[nodiscard]] const TemplateToken& current() const { return tokens_[at_]; }
  [[nodiscard]] const TemplateToken& following() const {
    return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_];
  }
  [[nodiscard]] int line() const { return current().line; }
  [[nodiscard]] bool sees(Kind kind) const { return current().kind == kind; }
  [[nodiscard]] bool sees_operator(std::string_view text) const {
    return current().is_operator(text);
  }
  [[nodiscard]] bool sees_name(std::string_view name) const { return current().is_name(name); }

  const TemplateToken& next() {
    const TemplateToken& token = current();
    if (sees(Kind::kOutputEnd) || sees(Kind::kBlockEnd)) links_ = 0;
    if (!sees(Kind::kEnd)) ++at_;
    return token;
  }
  // A chain (a + b + ..., a.b.c, a|f|g) nests one level with each link, without any bracket. The
  // links of a whole tag are bounded, and with them the depth of its tree.
  void count_link() {
    if (++links_ <= depth_limit_ * 64) return;
    throw TemplateError(TemplateError::Kind::kLimit, "line ", line(), ": one tag has more than ",
                        depth_limit_ * 64, " operations (depth)");
  }
  const TemplateToken& next_link() {
    count_link();
    return next();
  }
  bool skip_operator(std::string_view text) {
    if (!sees_operator(text)) return false;
    next();
    return true;
  }
  bool skip_name(std::string_view name) {
    if (!sees_name(name)) return false;
    next();
    return true;
  }

  void expect_operator(std::string_view text) {
    if (!skip_operator(text)) unexpected(text);
  }
  void expect_name(std::string_view name) {
    if (!skip_name(name)) unexpected(name);
  }
  const TemplateToken& expect(Kind kind, std::string_view described) {
    if (!sees(kind)) unexpected(described);
    return next();
  }
  [[noreturn]] void unexpected(std::string_view wanted) const {
    template_syntax(line(), "expected ", wanted, ", got ", description());
  }

  // Held by a parser while it is inside of one more block or expression.
  class Nesting {
   public:
    explicit Nesting(TemplateTokenStream& stream) : stream_(stream) {
      if (++stream_.depth_ <= stream_.depth_limit_) return;
      throw TemplateError(TemplateError::Kind::kLimit, "line ", stream_.line(),
                          ": blocks and brackets nest deeper than ", stream_.depth_limit_,
                          " (depth)");
    }
    ~Nesting() { --stream_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    TemplateTokenStream& stream_;
  };

 private:
  [[nodiscard]] std::string description() const {
    switch (current().kind) {
      case Kind::kText:
        return "text";
      case Kind::kOutputBegin:
        return "'{{'";
      case Kind::kOutputEnd:
        return "'}}'";
      case Kind::kBlockBegin:
        return "'{%'";
      case Kind::kBlockEnd:
        return "'%}'";
      case Kind::kEnd:
        return "the end of the template";
      default:
        return "'" + current().text + "'";
    }
  }

  std::vector<TemplateToken> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  int links_ = 0;
  int depth_limit_;
};

}  // namespace switchyard
