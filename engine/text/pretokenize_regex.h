// A compiled regular expression of a pre-tokenizer, and where it matches in a text.
// The only file that knows PCRE2; what becomes of the matches is pretokenize.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "engine/base/result.h"

struct pcre2_real_code_8;
struct pcre2_real_match_context_8;
struct pcre2_real_match_data_8;

namespace switchyard {

// Bytes [begin, end) of a text.
struct TextSpan {
  size_t begin = 0;
  size_t end = 0;
};

// Immutable after construction: any number of threads may search at once.
class Regex {
 public:
  // A pattern as tokenizer.json writes it (see translate_pattern), well-formed UTF-8.
  [[nodiscard]] static Result<Regex> compile(std::string_view pattern);
  // Exactly this text.
  [[nodiscard]] static Result<Regex> literal(std::string_view text);

 private:
  friend class RegexSearch;
  struct ProgramDeleter {
    void operator()(pcre2_real_code_8* program) const;
  };
  using Program = std::unique_ptr<pcre2_real_code_8, ProgramDeleter>;

  explicit Regex(Program program) : program_(std::move(program)) {}
  [[nodiscard]] static Result<Regex> build(std::string_view pattern, uint32_t options);

  Program program_;
};

// The matches of a pattern in a text, left to right, not overlapping; an empty match is not taken
// where the one before it ended. Borrows both; belongs to one thread.
class RegexSearch {
 public:
  // `text` is well-formed UTF-8.
  RegexSearch(const Regex& regex, std::string_view text);

  // The next match, or nothing at the end. Fails, naming the field "text", when one match takes
  // more steps than a bound that grows linearly with the text: a pattern that explodes ends in an
  // error rather than never.
  [[nodiscard]] Result<std::optional<TextSpan>> next();

 private:
  struct Deleter {
    void operator()(pcre2_real_match_context_8* context) const;
    void operator()(pcre2_real_match_data_8* data) const;
  };

  [[nodiscard]] int match_from_here(uint32_t options);

  const pcre2_real_code_8* program_;
  std::string_view text_;
  size_t from_ = 0;
  std::optional<size_t> last_end_;
  std::unique_ptr<pcre2_real_match_context_8, Deleter> context_;
  std::unique_ptr<pcre2_real_match_data_8, Deleter> data_;
};

}  // namespace switchyard
