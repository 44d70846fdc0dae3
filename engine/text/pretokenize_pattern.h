// Translates a regular expression from the dialect of tokenizer.json (Oniguruma, Ruby syntax) to
// PCRE2's, for the part of the language in which both can be made to mean the same. What would
// silently mean something else is refused by name. Compiles nothing (pretokenize_regex.h).
#pragma once

#include <string>
#include <string_view>

#include "engine/base/result.h"

namespace switchyard {

// The result is for PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE with newline LF. Where the dialects
// differ:
//   \s \d \w     become Unicode properties: PCRE2 counts U+180E as a space, and its \w has no marks
//   \p{Han}      becomes \p{sc:Han}: PCRE2 would mean Script_Extensions
//   ^ $          match at every line in Ruby, hence MULTILINE
//   \v \h \b \R  mean other things: \v is translated, the rest is refused
//   a{2}+ a{2}?  are not "possessive" and "lazy" in Ruby: refused
//   [a[b]] [a&&b] (sets in classes), groups other than (  (?:  (?i:  (?=  (?!  (?<=  (?<!  (?> ,
//                back references and recursion: refused
// Left different: in Oniguruma (?i:ss) matches "ß", and \w outside a class the likes of "½".
[[nodiscard]] Result<std::string> translate_pattern(std::string_view oniguruma);

}  // namespace switchyard
