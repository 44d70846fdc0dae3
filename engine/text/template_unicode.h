// Python's str by code points over well-formed UTF-8: counting, white space, case, line ends.
// Pure functions of text; no values and no limits (callers account for what they make).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard {

[[nodiscard]] size_t code_point_count(std::string_view text);
// Byte offset of the code point number `index`, or the size of the text past its end.
[[nodiscard]] size_t code_point_offset(std::string_view text, size_t index);
[[nodiscard]] std::vector<std::string_view> code_points_of(std::string_view text);
[[nodiscard]] std::string reversed_text(std::string_view text);

// str.isspace, which knows a few controls more than Unicode's White_Space.
[[nodiscard]] bool is_python_space(char32_t code_point);
// What repr() leaves as it is.
[[nodiscard]] bool is_python_printable(char32_t code_point);

// Without `characters`: white space. Otherwise any code point of it.
using StripSet = std::optional<std::string_view>;
[[nodiscard]] std::string_view strip_left(std::string_view text, StripSet characters = {});
[[nodiscard]] std::string_view strip_right(std::string_view text, StripSet characters = {});
[[nodiscard]] std::string_view strip_both(std::string_view text, StripSet characters = {});

[[nodiscard]] std::string upper_case(std::string_view text);
[[nodiscard]] std::string lower_case(std::string_view text);
// First character upper, the others lower: str.capitalize.
[[nodiscard]] std::string capitalized(std::string_view text);
// A capital after every character without case: str.title.
[[nodiscard]] std::string title_case(std::string_view text);
// str.islower and str.isupper: some character has case, and all that have it have this one.
[[nodiscard]] bool is_lower_case(std::string_view text);
[[nodiscard]] bool is_upper_case(std::string_view text);

// str.splitlines: without the line ends, and no empty line after the last one.
[[nodiscard]] std::vector<std::string_view> lines_of(std::string_view text);
// First occurrence at or after `from`, in time linear in the text whatever the needle.
[[nodiscard]] size_t find_text(std::string_view text, std::string_view needle, size_t from = 0);

}  // namespace switchyard
