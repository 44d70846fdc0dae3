// Decides, token by token, how much of one answer's text may be shown and whether it has ended.
// Works on the pieces of text that the detokenizer gives; knows no tokenizer and no scheduler.
//
// Text is held back only while it could be the beginning of a stop string: the longest suffix that
// is a proper prefix of one. Among stop strings, the match that ends first wins, of several ending
// at the same byte the longest; so the answer does not depend on how the text was cut into tokens.
// Text of the first min_new_tokens tokens is shown as it comes and takes part in no match.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request/request.h"

namespace switchyard {

// One stop string as a Knuth-Morris-Pratt automaton: O(1) amortised per byte, however hostile.
class StopStringMatcher {
 public:
  explicit StopStringMatcher(std::string pattern);  // not empty

  // Advances by one byte of text; true when the text now ends with the pattern, and nothing may be
  // pushed any more.
  bool push(char byte);
  // Length of the longest suffix of the text that is a proper prefix of the pattern.
  [[nodiscard]] size_t matched() const { return matched_; }
  [[nodiscard]] const std::string& pattern() const { return pattern_; }

 private:
  std::string pattern_;
  std::vector<size_t> fallback_;  // [i]: longest proper border of the first i+1 bytes
  size_t matched_ = 0;
};

struct StopVerdict {
  std::string text;  // to show now
  bool ended = false;
  FinishReason reason = FinishReason::kMaxTokens;  // counts when ended
  std::string matched_stop;
  int32_t matched_token = -1;
};

// Step thread only.
class StopRule {
 public:
  explicit StopRule(const Request& request);

  // Whether `token` ends the answer by itself. Then its own text is not part of the answer.
  [[nodiscard]] bool is_end_token(int32_t token) const;

  // Whether an answer of as many tokens ends, whatever they are.
  [[nodiscard]] bool must_end_after(int new_tokens) const;

  // The answer's next token and the text it completed (an end token completes none). Checked in
  // this order: stop string, end token, context limit, max_new_tokens. Not to be called again after
  // it ended the answer.
  StopVerdict push(int32_t token, std::string_view piece);

  // What is held back, to be shown after all when the answer ends by anything but a stop string.
  [[nodiscard]] std::string flush();

 private:
  // Moves what may be shown of held_ + piece to the verdict; true when a stop string ended it.
  bool match(std::string_view piece, StopVerdict& verdict);

  std::vector<int32_t> end_tokens_;   // sorted
  std::vector<int32_t> stop_tokens_;  // those of end_tokens_ that the caller named
  std::vector<StopStringMatcher> matchers_;
  std::string held_;
  int prompt_tokens_;
  int context_tokens_;
  int min_new_tokens_;
  int max_new_tokens_;
  int new_tokens_ = 0;
  bool include_stop_;
};

}  // namespace switchyard
