// Synthetic conversations: random tokens in the lengths, classes, prefixes and turns of a
// specification. Conversation n is a function of specification, seed and n alone.
#pragma once

#include <vector>

#include "client/load/request_maker.h"

namespace switchyard {

class SyntheticSource final : public ConversationSource {
 public:
  SyntheticSource(std::vector<ClassSpec> classes, TokenSpace space, MakerOptions options);

  std::optional<Conversation> next() override;
  // Any one of them.
  [[nodiscard]] Conversation conversation(int64_t number) const;

 private:
  const std::vector<ClassSpec> classes_;
  const TokenSpace space_;
  const MakerOptions options_;
  double shares_ = 0;
  int64_t next_ = 0;
};

}  // namespace switchyard
