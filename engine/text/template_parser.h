// Parses the statements of a template: the subset of Jinja that chat templates use.
// What it leaves out (include, import, extends, block, call, recursive loops) is an error that
// says so. The result is immutable and may be rendered by many threads.
#pragma once

#include <string_view>

#include "engine/text/template_ast.h"
#include "engine/text/template_limits.h"

namespace switchyard {

// `source` is well-formed UTF-8. Throws TemplateError with the line.
[[nodiscard]] TemplateBody parse_template(std::string_view source, const TemplateLimits& limits);

}  // namespace switchyard
