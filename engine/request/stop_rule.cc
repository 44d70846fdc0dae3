// Decides, token by token, how much of one answer's text may be shown and whether it has ended.
#include "engine/request/stop_rule.h"

#include <algorithm>
#include <utility>

#include "kernels/base/check.h"

namespace switchyard {

StopStringMatcher::StopStringMatcher(std::string pattern)
    : pattern_(std::move(pattern)), fallback_(pattern_.size(), 0) {
  CHECK(!pattern_.empty());
  size_t border = 0;
  for (size_t i = 1; i < pattern_.size(); ++i) {
    while (border > 0 && pattern_[i] != pattern_[border]) border = fallback_[border - 1];
    if (pattern_[i] == pattern_[border]) ++border;
    fallback_[i] = border;
  }
}

bool StopStringMatcher::push(char byte) {
  CHECK(matched_ < pattern_.size());
  while (matched_ > 0 && pattern_[matched_] != byte) matched_ = fallback_[matched_ - 1];
  if (pattern_[matched_] == byte) ++matched_;
  return matched_ == pattern_.size();
}

StopRule::StopRule(const Request& request)
    : end_tokens_(request.end_tokens()),
      stop_tokens_(request.fields().stop.stop_tokens),
      prompt_tokens_(static_cast<int>(request.fields().prompt.size())),
      context_tokens_(request.context_tokens()),
      min_new_tokens_(request.fields().stop.min_new_tokens),
      max_new_tokens_(request.fields().stop.max_new_tokens),
      include_stop_(request.fields().stop.include_stop) {
  for (const std::string& stop : request.fields().stop.stop_strings) matchers_.emplace_back(stop);
}

bool StopRule::is_end_token(int32_t token) const {
  return std::binary_search(end_tokens_.begin(), end_tokens_.end(), token);
}

bool StopRule::must_end_after(int new_tokens) const {
  return prompt_tokens_ + new_tokens >= context_tokens_ || new_tokens >= max_new_tokens_;
}

StopVerdict StopRule::push(int32_t token, std::string_view piece) {
  ++new_tokens_;
  StopVerdict verdict;
  if (new_tokens_ <= min_new_tokens_) {
    verdict.text = piece;
  } else if (match(piece, verdict)) {
    return verdict;
  }
  if (is_end_token(token)) {
    verdict.ended = true;
    const bool named = std::count(stop_tokens_.begin(), stop_tokens_.end(), token) > 0;
    verdict.reason = named ? FinishReason::kStopToken : FinishReason::kEos;
    verdict.matched_token = token;
  } else if (must_end_after(new_tokens_)) {
    verdict.ended = true;
    verdict.reason = prompt_tokens_ + new_tokens_ >= context_tokens_ ? FinishReason::kContextLimit
                                                                     : FinishReason::kMaxTokens;
  }
  return verdict;
}

std::string StopRule::flush() { return std::exchange(held_, {}); }

bool StopRule::match(std::string_view piece, StopVerdict& verdict) {
  for (const char byte : piece) {
    held_.push_back(byte);
    const std::string* longest = nullptr;
    for (StopStringMatcher& matcher : matchers_) {
      const bool ends_here = matcher.push(byte);
      if (ends_here && (longest == nullptr || matcher.pattern().size() > longest->size())) {
        longest = &matcher.pattern();
      }
    }
    if (longest == nullptr) continue;
    verdict.ended = true;
    verdict.reason = FinishReason::kStopString;
    verdict.matched_stop = *longest;
    const size_t shown = include_stop_ ? held_.size() : held_.size() - longest->size();
    verdict.text.assign(held_, 0, shown);
    held_.clear();
    return true;
  }
  size_t kept = 0;
  for (const StopStringMatcher& matcher : matchers_) kept = std::max(kept, matcher.matched());
  verdict.text.assign(held_, 0, held_.size() - kept);
  held_.erase(0, held_.size() - kept);
  return false;
}

}  // namespace switchyard
