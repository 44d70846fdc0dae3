#include "client/load/synthetic.h"

#include <utility>

namespace switchyard {

SyntheticSource::SyntheticSource(std::vector<ClassSpec> classes,
                                 TokenSpace space,
                                 MakerOptions options)
    : classes_(std::move(classes)), space_(std::move(space)), options_(std::move(options)) {
  for (const ClassSpec& kind : classes_) shares_ += kind.share;
}

std::optional<Conversation> SyntheticSource::next() { return conversation(next_++); }

Conversation SyntheticSource::conversation(int64_t number) const {
  Random random(options_.seed, Draw::kConversation, {static_cast<uint64_t>(number)});
  double point = random.uniform() * shares_;
  size_t index = 0;
  while (index + 1 < classes_.size() && (point -= classes_[index].share) >= 0) ++index;
  const ClassSpec& kind = classes_[index];

  Conversation turns;
  const auto count = static_cast<int32_t>(kind.turns.draw(random));
  for (int32_t turn = 0; turn < count; ++turn) {
    PlannedRequest planned = make_request(kind, {number, turn}, -1, options_);
    v1::TokenIds& ids = *planned.request.mutable_token_ids();
    if (turn == 0 && kind.prefix_groups > 0) {
      const uint64_t group = random.below(static_cast<uint64_t>(kind.prefix_groups));
      Random prefix(options_.seed, Draw::kPrefix, {index, group});
      append_tokens(ids, kind.prefix_tokens, space_, prefix);
    }
    Random prompt(options_.seed, Draw::kPrompt,
                  {static_cast<uint64_t>(number), static_cast<uint64_t>(turn)});
    const int64_t length = kind.prompt_tokens.draw(prompt);
    append_tokens(ids, length, space_, prompt);
    planned.last_turn = turn + 1 == count;
    turns.push_back(std::move(planned));
  }
  return turns;
}

}  // namespace switchyard
