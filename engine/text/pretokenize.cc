#include "engine/text/pretokenize.h"

#include <string>

#include "engine/text/tokenizer_json.h"

namespace switchyard {
namespace {

constexpr size_t kMaxStages = 16;  // each is one level of recursion in run()

// openai/gpt-2, src/encoder.py
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

struct Piece {
  TextSpan span;
  bool is_match = false;
};

// Whether a piece continues the word that the piece before it is part of.
bool joins(SplitBehavior behavior, bool previous_is_match, bool next_is_match) {
  switch (behavior) {
    case SplitBehavior::kContiguous:
      return previous_is_match == next_is_match;
    case SplitBehavior::kMergedWithPrevious:
      return !previous_is_match && next_is_match;
    case SplitBehavior::kMergedWithNext:
      return previous_is_match && !next_is_match;
    case SplitBehavior::kIsolated:
    case SplitBehavior::kRemoved:
      break;
  }
  return false;
}

// Puts the matches of a text, and what is between them, together to words.
class WordBuilder {
 public:
  using TakeWord = std::function<Status(TextSpan)>;

  WordBuilder(SplitBehavior behavior, TakeWord take)
      : behavior_(behavior), take_(std::move(take)) {}

  Status add(Piece piece) {
    if (last_ && joins(behavior_, last_->is_match, piece.is_match)) {
      piece.span.begin = last_->span.begin;
    } else if (Status status = finish(); !status.ok()) {
      return status;
    }
    last_ = piece;
    return {};
  }

  Status finish() {
    if (!last_ || (behavior_ == SplitBehavior::kRemoved && last_->is_match)) return {};
    return take_(last_->span);
  }

 private:
  SplitBehavior behavior_;
  TakeWord take_;
  std::optional<Piece> last_;  // the word so far, and what its last piece was
};

std::optional<SplitBehavior> behavior_named(std::string_view name) {
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  return std::nullopt;
}

std::optional<Regex> checked(Result<Regex> compiled, const JsonNode& place) {
  if (compiled.ok()) return std::move(compiled).value();
  place.fail(compiled.status().message());
  return std::nullopt;
}

}  // namespace

PreTokenizer PreTokenizer::parse(const JsonNode& pre_tokenizer) {
  PreTokenizer result;
  result.add(pre_tokenizer);
  if (!result.ends_in_byte_level_) {
    pre_tokenizer.fail("has no ByteLevel; only byte-level BPE is supported");
  }
  return result;
}

void PreTokenizer::add(const JsonNode& node) {
  if (!node.is_object()) return;
  const std::string type = node.text("type");
  if (type == "Sequence") {
    for (const JsonNode& part : node["pretokenizers"].elements()) add(part);
    return;
  }
  if (ends_in_byte_level_) return node.fail("follows ByteLevel, which must be the last");
  if (stages_.size() == kMaxStages) return node.fail("is one too many, limit ", kMaxStages);
  if (type == "Split") return add_split(node);
  if (type == "Digits") return add_digits(node);
  if (type == "ByteLevel") return add_byte_level(node);
  node.fail_unsupported("type");
}

void PreTokenizer::add_split(const JsonNode& node) {
  const std::optional<SplitBehavior> behavior = behavior_named(node.text("behavior"));
  if (!behavior) node.fail_unsupported("behavior");
  const JsonNode pattern = node["pattern"];
  if (!pattern.is_object()) return;
  const bool is_literal = !pattern["String"].is_null();
  const std::string source = pattern.text(is_literal ? "String" : "Regex");
  std::optional<Regex> regex =
      checked(is_literal ? Regex::literal(source) : Regex::compile(source), pattern);
  stages_.push_back({.pattern = std::move(regex),
                     .behavior = behavior.value_or(SplitBehavior::kIsolated),
                     .invert = node.flag("invert", false)});
}

void PreTokenizer::add_digits(const JsonNode& node) {
  const bool individual = node.flag("individual_digits", false);
  stages_.push_back(
      {.pattern = checked(Regex::compile(R"(\p{N})"), node),
       .behavior = individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous});
}

void PreTokenizer::add_byte_level(const JsonNode& node) {
  ends_in_byte_level_ = true;
  Stage stage{.prepend_space = node.flag("add_prefix_space", true)};
  if (node.flag("use_regex", true)) stage.pattern = checked(Regex::compile(kGpt2Pattern), node);
  stages_.push_back(std::move(stage));
}

Status PreTokenizer::split(std::string_view text, const Sink& sink) const {
  return run(0, text, sink);
}

Status PreTokenizer::run(size_t stage_index, std::string_view text, const Sink& sink) const {
  if (text.empty()) return {};
  if (stage_index == stages_.size()) {
    sink(text);
    return {};
  }
  const Stage& stage = stages_[stage_index];
  std::string with_space;
  if (stage.prepend_space && !text.starts_with(' ')) {
    with_space = " " + std::string(text);
    text = with_space;
  }
  if (!stage.pattern) return run(stage_index + 1, text, sink);

  WordBuilder words(stage.behavior, [&](TextSpan word) {
    return run(stage_index + 1, text.substr(word.begin, word.end - word.begin), sink);
  });
  RegexSearch search(*stage.pattern, text);
  for (size_t at = 0;;) {
    const Result<std::optional<TextSpan>> match = search.next();
    if (!match.ok()) return match.status();
    const size_t match_begin = *match ? (*match)->begin : text.size();
    if (at < match_begin) {
      Status status = words.add({{at, match_begin}, stage.invert});
      if (!status.ok()) return status;
    }
    if (!*match) return words.finish();
    Status status = words.add({**match, !stage.invert});
    if (!status.ok()) return status;
    at = (*match)->end;
  }
}

}  // namespace switchyard
