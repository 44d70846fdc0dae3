// Whole chat templates against what transformers renders, and how a template refuses its input.
#include "engine/text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

namespace switchyard {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;
namespace fs = std::filesystem;

const fs::path kFixtures = SWITCHYARD_SOURCE_DIR "/tests/fixtures/chat_templates";

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

ChatTemplateInput input_of(const Json& vector) {
  ChatTemplateInput input;
  input.messages = vector["messages"];
  input.tools = vector["tools"];
  input.kwargs = vector["kwargs"];
  input.add_generation_prompt = input.kwargs["add_generation_prompt"];
  input.kwargs.erase("add_generation_prompt");
  input.bos_token = "<s>";
  input.eos_token = "</s>";
  // The day on which the vectors were rendered: one template tells the date.
  input.now = std::chrono::sys_days(std::chrono::year(2026) / 11 / 21) + std::chrono::hours(12);
  return input;
}

void expect_vectors(const fs::path& folder, size_t at_least) {
  const Json vectors = Json::parse(read(folder / "vectors.json"));
  EXPECT_GE(vectors.size(), at_least);
  for (const Json& vector : vectors) {
    const std::string name = vector["template"];
    const auto parsed = ChatTemplate::parse(read(folder / name));
    ASSERT_TRUE(parsed.ok()) << name << ": " << parsed.status().message();
    const auto rendered = parsed->render(input_of(vector));
    ASSERT_TRUE(rendered.ok()) << name << ": " << rendered.status().message();
    EXPECT_EQ(*rendered, vector["rendered"].get<std::string>())
        << name << " " << vector["conversation"];
  }
}

ChatTemplateInput greeting() {
  ChatTemplateInput input;
  input.messages = {{{"role", "user"}, {"content", "hi"}}};
  return input;
}

Status failure_of(std::string_view source, const ChatTemplateInput& input) {
  const auto parsed = ChatTemplate::parse(source);
  return parsed.ok() ? parsed->render(input).status() : parsed.status();
}

TEST(ChatTemplate, RendersTheCommittedVectorsExactly) { expect_vectors(kFixtures, 40); }

TEST(ChatTemplate, RendersEveryVectorOfTheSharedFolderExactly) {
  const fs::path shared = SWITCHYARD_SOURCE_DIR "/../shared/data/chat_templates";
  if (!fs::exists(shared)) GTEST_SKIP() << "no shared folder beside the sources";
  expect_vectors(shared, 72);
}

TEST(ChatTemplate, GivesTokensPromptFlagAndKwargsToTheTemplate) {
  ChatTemplateInput input = greeting();
  input.bos_token = "<s>";
  input.eos_token = "</s>";
  input.add_generation_prompt = false;
  input.kwargs = {{"enable_thinking", false}, {"z", 1}, {"a", 2}};
  const auto parsed = ChatTemplate::parse(
      "{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}{{ enable_thinking }}{{ z }}{{ a }}"
      "{{ tools is none }}{{ messages[0].content }}");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(*parsed->render(input), "<s></s>FalseFalse12Truehi");
}

TEST(ChatTemplate, LetsKwargsWinOverItsOwnVariables) {
  ChatTemplateInput input = greeting();
  input.kwargs = {{"bos_token", "mine"}};
  EXPECT_EQ(*ChatTemplate::parse("{{ bos_token }}")->render(input), "mine");
}

TEST(ChatTemplate, TellsTheTimeThatItIsGiven) {
  ChatTemplateInput input = greeting();
  input.now = std::chrono::sys_days(std::chrono::year(2024) / 7 / 4) + std::chrono::hours(9) +
              std::chrono::minutes(5);
  const auto rendered =
      ChatTemplate::parse("{{ strftime_now('%d %b %Y %H:%M %A 100%% %-d/%-m') }}")->render(input);
  EXPECT_EQ(*rendered, "04 Jul 2024 09:05 Thursday 100% 4/7");
}

TEST(ChatTemplate, TurnsRaiseExceptionIntoAMistakeOfTheMessages) {
  const Status status = failure_of("{{ raise_exception('roles must alternate') }}", greeting());
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.field(), "messages");
  EXPECT_EQ(status.message(), "messages: roles must alternate");
}

TEST(ChatTemplate, CallsMessagesThatDoNotSuitItInvalidAndSaysWhere) {
  ChatTemplateInput input = greeting();
  input.messages = Json::array();
  const Status status = failure_of("a\n{{ messages[0].role }}", input);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.field(), "messages");
  EXPECT_THAT(status.message(), HasSubstr("line 2"));
}

TEST(ChatTemplate, RefusesQwenWithoutMessagesInItsOwnWords) {
  ChatTemplateInput input = greeting();
  input.messages = Json::array();
  const Status status = failure_of(read(kFixtures / "Qwen3.5-4B.jinja"), input);
  EXPECT_EQ(status.message(), "messages: No messages provided.");
}

TEST(ChatTemplate, NamesTheTagsThatItDoesNotSupport) {
  for (const std::string tag : {"include", "import", "from", "extends", "block", "call"}) {
    const Status status = failure_of("text\n{% " + tag + " x %}", greeting());
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr("line 2: the tag '" + tag + "' is not supported"));
  }
  EXPECT_THAT(failure_of("{% for a in b recursive %}{% endfor %}", greeting()).message(),
              HasSubstr("recursive loops are not supported"));
}

TEST(ChatTemplate, RefusesBytesThatAreNotUtf8) {
  EXPECT_EQ(failure_of("ab\xff", greeting()).code(), Code::kInvalidArgument);
  ChatTemplateInput input = greeting();
  input.messages[0]["content"] = "\xc3";
  EXPECT_EQ(failure_of("{{ messages }}", input).field(), "messages");
  EXPECT_THAT(failure_of("{{ 'é'[0]|nope }}{{ '%é' % 1 }}", greeting()).message(),
              HasSubstr("nope"));
}

TEST(ChatTemplate, RefusesKwargsThatAreNotAnObject) {
  ChatTemplateInput input = greeting();
  input.kwargs = Json::array({1});
  EXPECT_EQ(failure_of("x", input).field(), "kwargs");
}

TEST(ChatTemplate, RefusesIntegersBeyond64Bits) {
  ChatTemplateInput input = greeting();
  input.kwargs = {{"big", uint64_t{1} << 63}};
  EXPECT_EQ(failure_of("x", input).code(), Code::kInvalidArgument);
  EXPECT_FALSE(failure_of("{{ 9223372036854775807 + 1 }}", greeting()).ok());
  EXPECT_FALSE(failure_of("{{ 3 ** 99 }}", greeting()).ok());
  EXPECT_FALSE(failure_of("{{ 99999999999999999999 }}", greeting()).ok());
}

TEST(ChatTemplate, RefusesAMacroThatOutlivesItsBlock) {
  const Status status = failure_of(
      "{% set ns = namespace() %}{% for i in [1] %}{% macro m() %}{{ i }}{% endmacro %}"
      "{% set ns.m = m %}{% endfor %}{{ ns.m() }}",
      greeting());
  EXPECT_THAT(status.message(), HasSubstr("macro 'm' was called after the block"));
}

TEST(ChatTemplate, FreesNamespacesThatHoldThemselves) {
  // The address sanitizer would report them.
  EXPECT_EQ(
      *ChatTemplate::parse("{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns.me|length }}")
           ->render(greeting()),
      "1");
}

TEST(ChatTemplate, RendersFromManyThreadsAtOnce) {
  const auto parsed = ChatTemplate::parse(read(kFixtures / "LFM2.5-Instruct.jinja"));
  ASSERT_TRUE(parsed.ok());
  const std::string expected = *parsed->render(greeting());
  std::vector<std::thread> threads;
  std::vector<int> equal(4);
  for (int& mine : equal) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) mine += *parsed->render(greeting()) == expected ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, std::vector<int>({50, 50, 50, 50}));
}

}  // namespace
}  // namespace switchyard
