// Small templates against what jinja2 makes of them in the environment of transformers.
// tests/fixtures/chat_templates/make_pairs.py made the pairs.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/text/chat_template.h"

namespace switchyard {
namespace {

using Json = nlohmann::ordered_json;

const Json& pairs_file() {
  static const Json file = [] {
    std::ifstream in(SWITCHYARD_SOURCE_DIR "/tests/fixtures/chat_templates/pairs.json");
    return Json::parse(in);
  }();
  return file;
}

Result<std::string> render(const std::string& source) {
  auto parsed = ChatTemplate::parse(source);
  if (!parsed.ok()) return parsed.status();
  ChatTemplateInput input;
  input.kwargs = pairs_file()["variables"];
  return parsed->render(input);
}

TEST(TemplatePairs, RenderAsJinjaDoes) {
  size_t count = 0;
  for (const Json& pair : pairs_file()["pairs"]) {
    if (!pair.contains("rendered")) continue;
    const std::string source = pair["template"];
    const auto rendered = render(source);
    ASSERT_TRUE(rendered.ok()) << source << "\n" << rendered.status().message();
    EXPECT_EQ(*rendered, pair["rendered"].get<std::string>()) << source;
    ++count;
  }
  EXPECT_GE(count, 150u);
}

TEST(TemplatePairs, FailWhereJinjaFails) {
  size_t count = 0;
  for (const Json& pair : pairs_file()["pairs"]) {
    if (!pair.contains("error")) continue;
    const std::string source = pair["template"];
    const auto rendered = render(source);
    EXPECT_FALSE(rendered.ok()) << source << "\nmade: " << *rendered;
    ++count;
  }
  EXPECT_GE(count, 40u);
}

TEST(TemplatePairs, FailOnTheLineWhereJinjaFindsTheMistake) {
  size_t count = 0;
  for (const Json& pair : pairs_file()["pairs"]) {
    if (!pair.contains("syntax_error_line")) continue;
    const std::string source = pair["template"];
    const auto rendered = render(source);
    ASSERT_FALSE(rendered.ok()) << source;
    EXPECT_EQ(rendered.status().code(), Code::kInvalidArgument) << source;
    const std::string line = "line " + std::to_string(pair["syntax_error_line"].get<int>()) + ":";
    EXPECT_NE(rendered.status().message().find(line), std::string::npos)
        << source << "\n"
        << rendered.status().message();
    ++count;
  }
  EXPECT_GE(count, 30u);
}

}  // namespace
}  // namespace switchyard
