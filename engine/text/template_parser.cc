// Parses the statements of a template. See the header.
#include "engine/text/template_parser.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <utility>

#include "engine/text/template_expression_parser.h"
#include "engine/text/template_lexer.h"
#include "engine/text/template_token_stream.h"
#include "kernels/base/check.h"

namespace switchyard {

namespace {

using Kind = TemplateToken::Kind;
using EndTags = std::initializer_list<std::string_view>;

class Parser {
 public:
  Parser(std::vector<TemplateToken> tokens, const TemplateLimits& limits)
      : stream_(std::move(tokens), limits.depth), expressions_(stream_) {}

  TemplateBody whole() {
    TemplateBody body = statements({});
    CHECK(stream_.sees(Kind::kEnd));
    return body;
  }

 private:
  using Statement = TemplateStatement::Node (Parser::*)();

  // Statements up to one of `ends`, whose name is then the current token ({% is passed).
  TemplateBody statements(EndTags ends) {
    const TemplateTokenStream::Nesting nesting(stream_);
    const int opened_on = stream_.line();
    TemplateBody body;
    while (!stream_.sees(Kind::kEnd)) {
      const int line = stream_.line();
      if (stream_.sees(Kind::kText)) {
        body.push_back({line, TextStatement{stream_.next().text}});
      } else if (stream_.sees(Kind::kOutputBegin)) {
        stream_.next();
        body.push_back({line, OutputStatement{expressions_.expression_or_tuple()}});
        stream_.expect(Kind::kOutputEnd, "'}}'");
      } else {
        stream_.expect(Kind::kBlockBegin, "'{%'");
        const std::string& tag = stream_.current().text;
        if (stream_.sees(Kind::kName) && std::find(ends.begin(), ends.end(), tag) != ends.end()) {
          return body;
        }
        body.push_back({line, statement()});
        stream_.expect(Kind::kBlockEnd, "'%}'");
      }
    }
    if (ends.size() == 0) return body;
    template_syntax(opened_on, "the block that starts here has no {% ", *(ends.end() - 1), " %}");
  }

  // The %} of an opening tag, the body, and the name of the closing tag.
  TemplateBody block(std::string_view end) {
    TemplateBody body = open_block({end});
    stream_.expect_name(end);
    return body;
  }
  TemplateBody open_block(EndTags ends) {
    stream_.skip_operator(":");
    stream_.expect(Kind::kBlockEnd, "'%}'");
    return statements(ends);
  }

  TemplateStatement::Node statement() {
    struct Tag {
      std::string_view name;
      Statement parse;
    };
    constexpr std::array<Tag, 9> kTags = {{
        {"set", &Parser::set_statement},
        {"if", &Parser::if_statement},
        {"for", &Parser::for_statement},
        {"macro", &Parser::macro_statement},
        {"filter", &Parser::filter_statement},
        {"with", &Parser::with_statement},
        {"generation", &Parser::generation_statement},
        {"break", &Parser::break_statement},
        {"continue", &Parser::continue_statement},
    }};
    constexpr std::array<std::string_view, 9> kUnsupported = {
        "include", "import", "from", "extends", "block", "call", "do", "autoescape", "print"};
    const TemplateToken& token = stream_.expect(Kind::kName, "the name of a tag");
    for (const Tag& tag : kTags) {
      if (token.text == tag.name) return (this->*tag.parse)();
    }
    if (std::find(kUnsupported.begin(), kUnsupported.end(), token.text) != kUnsupported.end()) {
      template_syntax(token.line, "the tag '", token.text, "' is not supported");
    }
    template_syntax(token.line, "unknown tag '", token.text, "'");
  }

  AssignTarget target() {
    AssignTarget first = single_target();
    if (!stream_.sees_operator(",")) return first;
    AssignTarget tuple;
    tuple.is_tuple = true;
    tuple.parts.push_back(std::move(first));
    while (stream_.skip_operator(",")) {
      if (!stream_.sees(Kind::kName) && !stream_.sees_operator("(")) break;
      if (stream_.sees_name("in")) break;
      tuple.parts.push_back(single_target());
    }
    return tuple;
  }

  AssignTarget single_target() {
    const TemplateTokenStream::Nesting nesting(stream_);
    AssignTarget made;
    if (stream_.skip_operator("(")) {
      made = target();
      stream_.expect_operator(")");
      return made;
    }
    made.name = assignable_name();
    if (stream_.skip_operator(".")) made.attribute = stream_.expect(Kind::kName, "a name").text;
    return made;
  }

  std::string assignable_name() {
    constexpr std::array<std::string_view, 6> kConstants = {"true", "false", "none",
                                                            "True", "False", "None"};
    const TemplateToken& token = stream_.expect(Kind::kName, "a name to assign to");
    if (std::find(kConstants.begin(), kConstants.end(), token.text) != kConstants.end()) {
      template_syntax(token.line, "can't assign to '", token.text, "'");
    }
    return token.text;
  }

  TemplateStatement::Node set_statement() {
    AssignTarget assigned = target();
    if (stream_.skip_operator("=")) {
      return SetStatement{std::move(assigned), expressions_.expression_or_tuple()};
    }
    if (assigned.is_tuple) stream_.unexpected("'='");
    ExpressionList filters = expressions_.piped_filters();
    return SetBlockStatement{std::move(assigned), std::move(filters), block("endset")};
  }

  TemplateStatement::Node if_statement() {
    IfStatement node;
    do {
      ExpressionPointer condition = expressions_.unconditional_or_tuple();
      TemplateBody body = open_block({"elif", "else", "endif"});
      node.branches.emplace_back(std::move(condition), std::move(body));
    } while (stream_.skip_name("elif"));
    if (stream_.skip_name("else")) {
      node.otherwise = block("endif");
    } else {
      stream_.expect_name("endif");
    }
    return node;
  }

  TemplateStatement::Node for_statement() {
    ForStatement node;
    node.target = target();
    stream_.expect_name("in");
    node.iterable = expressions_.unconditional_or_tuple();
    if (stream_.skip_name("if")) node.condition = expressions_.expression();
    if (stream_.sees_name("recursive")) {
      template_syntax(stream_.line(), "recursive loops are not supported");
    }
    ++open_loops_;
    node.body = open_block({"else", "endfor"});
    --open_loops_;
    if (stream_.skip_name("else")) {
      node.otherwise = block("endfor");
    } else {
      stream_.expect_name("endfor");
    }
    return node;
  }

  TemplateStatement::Node macro_statement() {
    MacroStatement node;
    node.name = assignable_name();
    stream_.expect_operator("(");
    while (!stream_.sees_operator(")")) {
      if (!node.parameters.empty()) stream_.expect_operator(",");
      if (stream_.sees_operator(")")) break;
      const int line = stream_.line();
      std::string parameter = assignable_name();
      ExpressionPointer value;
      if (stream_.skip_operator("=")) {
        value = expressions_.expression();
      } else if (!node.parameters.empty() && node.parameters.back().second != nullptr) {
        template_syntax(line, "a parameter without a default follows one with a default");
      }
      node.parameters.emplace_back(std::move(parameter), std::move(value));
    }
    stream_.expect_operator(")");
    const int enclosing_loops = std::exchange(open_loops_, 0);
    node.body = block("endmacro");
    open_loops_ = enclosing_loops;
    return node;
  }

  TemplateStatement::Node filter_statement() {
    FilterStatement node;
    node.filters.push_back(expressions_.bare_filter());
    for (ExpressionPointer& filter : expressions_.piped_filters()) {
      node.filters.push_back(std::move(filter));
    }
    node.body = block("endfilter");
    return node;
  }

  TemplateStatement::Node with_statement() {
    WithStatement node;
    while (!stream_.sees(Kind::kBlockEnd)) {
      if (!node.bindings.empty()) stream_.expect_operator(",");
      AssignTarget bound = single_target();
      stream_.expect_operator("=");
      node.bindings.emplace_back(std::move(bound), expressions_.expression());
    }
    node.body = block("endwith");
    return node;
  }

  // Marks what the model wrote, for training; here it is only a scope.
  TemplateStatement::Node generation_statement() {
    return WithStatement{{}, block("endgeneration")};
  }

  TemplateStatement::Node break_statement() {
    require_loop("break");
    return BreakStatement{};
  }
  TemplateStatement::Node continue_statement() {
    require_loop("continue");
    return ContinueStatement{};
  }
  void require_loop(std::string_view tag) const {
    if (open_loops_ == 0) template_syntax(stream_.line(), "'", tag, "' outside of a loop");
  }

  TemplateTokenStream stream_;
  TemplateExpressionParser expressions_;
  int open_loops_ = 0;
};

}  // namespace

TemplateBody parse_template(std::string_view source, const TemplateLimits& limits) {
  return Parser(split_template(source), limits).whole();
}

}  // namespace switchyard
