// The post-processor of a tokenizer.json: which tokens go before and after those of a text.
// Only the template of a single text; pairs of texts are not for generation.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/text/tokenizer_vocabulary.h"

namespace switchyard {

class JsonNode;

struct TextFrame {
  std::vector<int32_t> before;
  std::vector<int32_t> after;
};

// Reads null, ByteLevel (which only moves offsets), TemplateProcessing with one $A, or a Sequence
// of those, the last being the outermost. Complains through the node otherwise, and about ids that
// are no tokens.
[[nodiscard]] TextFrame parse_text_frame(const JsonNode& post_processor, const TokenTable& tokens);

}  // namespace switchyard
