#include "engine/text/pretokenize_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>

#include "engine/text/pretokenize_pattern.h"
#include "engine/text/unicode.h"

namespace switchyard {
namespace {

constexpr size_t kMaxPatternBytes = 16384;
constexpr uint32_t kMaxNestedGroups = 50;
constexpr uint32_t kMatcherHeapKib = 64 * 1024;
// A pattern walks a text a few times (\s*[\r\n]+ walks a run of spaces there and back).
constexpr uint32_t kStepsPerMatch = 1'000'000;
constexpr uint32_t kStepsPerByte = 8;

PCRE2_SPTR units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

std::string error_text(int code) {
  std::array<PCRE2_UCHAR, 128> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

void Regex::ProgramDeleter::operator()(pcre2_real_code_8* program) const {
  pcre2_code_free(program);
}

Result<Regex> Regex::compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return Status(Code::kInvalidArgument, "regular expression has ", pattern.size(),
                  " bytes, limit ", kMaxPatternBytes);
  }
  Result<std::string> translated = translate_pattern(pattern);
  if (!translated.ok()) return translated.status();
  return build(*translated, PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
}

Result<Regex> Regex::literal(std::string_view text) { return build(text, PCRE2_LITERAL); }

Result<Regex> Regex::build(std::string_view pattern, uint32_t options) {
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), &pcre2_compile_context_free);
  CHECK(context);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), kMaxNestedGroups);
  const bool is_literal = (options & PCRE2_LITERAL) != 0;
  int error = 0;
  PCRE2_SIZE error_offset = 0;
  Program program(pcre2_compile(units(pattern), pattern.size(),
                                options | PCRE2_UTF | (is_literal ? 0 : PCRE2_UCP), &error,
                                &error_offset, context.get()));
  if (!program) {
    return Status(Code::kInvalidArgument, "regular expression: ", error_text(error));
  }
  // Where the system forbids writable code pages this fails and matching is interpreted.
  (void)pcre2_jit_compile(program.get(), PCRE2_JIT_COMPLETE);
  return Regex(std::move(program));
}

void RegexSearch::Deleter::operator()(pcre2_real_match_context_8* context) const {
  pcre2_match_context_free(context);
}

void RegexSearch::Deleter::operator()(pcre2_real_match_data_8* data) const {
  pcre2_match_data_free(data);
}

RegexSearch::RegexSearch(const Regex& regex, std::string_view text)
    : program_(regex.program_.get()),
      text_(text),
      context_(pcre2_match_context_create(nullptr)),
      data_(pcre2_match_data_create(1, nullptr)) {
  CHECK(context_ && data_);
  const uint64_t steps = kStepsPerMatch + uint64_t{kStepsPerByte} * text.size();
  pcre2_set_match_limit(context_.get(),
                        static_cast<uint32_t>(std::min<uint64_t>(steps, UINT32_MAX)));
  pcre2_set_heap_limit(context_.get(), kMatcherHeapKib);
}

int RegexSearch::match_from_here(uint32_t options) {
  return pcre2_match(program_, units(text_), text_.size(), from_, PCRE2_NO_UTF_CHECK | options,
                     data_.get(), context_.get());
}

Result<std::optional<TextSpan>> RegexSearch::next() {
  while (from_ <= text_.size()) {
    int found = match_from_here(0);
    // Interpreting is slower, but has its own heap.
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = match_from_here(PCRE2_NO_JIT);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) {
      return Status::invalid("text", "the tokenizer's pattern fails on it: ", error_text(found));
    }
    const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(data_.get());
    const TextSpan span{offsets[0], offsets[1]};
    if (span.begin == span.end && last_end_ == span.end) {
      from_ += from_ == text_.size() ? 1 : utf8_char_at(text_, from_).length;
      continue;
    }
    from_ = span.end;
    last_end_ = span.end;
    return std::optional(span);
  }
  from_ = text_.size() + 1;
  return std::optional<TextSpan>();
}

}  // namespace switchyard
