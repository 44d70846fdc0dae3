#include "engine/text/detokenizer.h"

namespace switchyard {

std::string_view Detokenizer::push(int32_t id) {
  piece_.clear();
  if (!options_.skip_special || !tokenizer_->is_special(id)) {
    repairer_.push(tokenizer_->token_bytes(id), piece_);
  }
  return piece_;
}

std::string_view Detokenizer::finish() {
  piece_.clear();
  repairer_.finish(piece_);
  return piece_;
}

}  // namespace switchyard
