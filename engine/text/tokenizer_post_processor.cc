#include "engine/text/tokenizer_post_processor.h"

#include "engine/text/tokenizer_json.h"

namespace switchyard {
namespace {

constexpr size_t kMaxFrameTokens = 256;

void append_special(const JsonNode& definition,
                    const TokenTable& tokens,
                    std::vector<int32_t>& out) {
  for (const JsonNode& id : definition["ids"].elements()) {
    if (out.size() == kMaxFrameTokens) return id.fail("is one too many, limit ", kMaxFrameTokens);
    out.push_back(id.token_id());
    if (!tokens.contains(out.back())) id.fail(out.back(), " is not the id of a token");
  }
}

TextFrame parse_template(const JsonNode& node, const TokenTable& tokens) {
  TextFrame frame;
  int texts = 0;
  for (const JsonNode& piece : node["single"].elements()) {
    const JsonNode special = piece["SpecialToken"];
    if (special.is_null()) {
      const JsonNode sequence = piece["Sequence"];
      if (sequence.is_object() && sequence.text("id") != "A") sequence.fail_unsupported("id");
      ++texts;
    } else {
      const JsonNode definition = node["special_tokens"][special.text("id")];
      append_special(definition, tokens, texts == 0 ? frame.before : frame.after);
    }
    if (node.failed()) return frame;
  }
  if (texts != 1) node["single"].fail("has ", texts, " sequences, want 1");
  return frame;
}

}  // namespace

TextFrame parse_text_frame(const JsonNode& post_processor, const TokenTable& tokens) {
  TextFrame frame;
  if (post_processor.is_null() || !post_processor.is_object()) return frame;
  const std::string type = post_processor.text("type");
  if (type == "ByteLevel") return frame;
  if (type == "TemplateProcessing") return parse_template(post_processor, tokens);
  if (type != "Sequence") {
    post_processor.fail_unsupported("type");
    return frame;
  }
  for (const JsonNode& part : post_processor["processors"].elements()) {
    const TextFrame outer = parse_text_frame(part, tokens);
    frame.before.insert(frame.before.begin(), outer.before.begin(), outer.before.end());
    frame.after.insert(frame.after.end(), outer.after.begin(), outer.after.end());
    if (frame.before.size() + frame.after.size() > kMaxFrameTokens) {
      part.fail("adds one token too many, limit ", kMaxFrameTokens);
      break;
    }
  }
  return frame;
}

}  // namespace switchyard
