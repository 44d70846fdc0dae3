// The normalizer of a tokenizer.json: what happens to text before it is cut into words.
// Only NFC (Unicode UAX #15) and nothing at all; lower-casing and the like are refused at load.
#pragma once

#include <string>
#include <string_view>

namespace switchyard {

class JsonNode;

enum class Normalization { kNone, kNfc };

// Reads null, {"type": "NFC"}, or a Sequence of those; complains through the node otherwise.
[[nodiscard]] Normalization parse_normalization(const JsonNode& normalizer);

// `text` is well-formed UTF-8. Linear in its size but for the sorting of long runs of marks.
[[nodiscard]] std::string normalized(Normalization normalization, std::string_view text);

}  // namespace switchyard
