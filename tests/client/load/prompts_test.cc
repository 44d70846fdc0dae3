// Files of prompts: ours, ShareGPT's, as lines and as an array.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "client/load/history.h"
#include "client/load/prompt_file.h"

namespace switchyard {
namespace {

using testing::HasSubstr;

ClassSpec named(const std::string& name) {
  ClassSpec kind;
  kind.name = name;
  return kind;
}

absl::StatusOr<PromptFile> prompts(const std::string& text) {
  std::istringstream in(text);
  std::vector<ClassSpec> classes(2);
  classes[1].name = "batch";
  return read_prompts(in, classes, {.bytes = 200, .count = 100});
}

TEST(Prompts, AreTextMessagesOrTokensAndTurnsOfSessions) {
  const auto file = prompts(R"({"text": "one"}
{"messages": [{"role": "user", "content": "hi"}], "session": "a", "answer_tokens": 9}

{"token_ids": [5, 6], "class": "batch"}
{"messages": [{"role": "user", "content": "more"}], "session": "a"}
)");
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->size(), 3u);
  PromptSource source(*file, {ClassSpec{}, named("batch")}, {});
  EXPECT_EQ((*source.next())[0].request.text(), "one");
  const Conversation chat = *source.next();
  ASSERT_EQ(chat.size(), 2u);
  EXPECT_EQ(chat[0].answer_tokens, 9);
  EXPECT_FALSE(chat[0].last_turn);
  EXPECT_TRUE(chat[1].last_turn);
  EXPECT_EQ((*source.next())[0].class_name, "batch");
  // And again from the start, as new conversations.
  const Conversation again = *source.next();
  EXPECT_EQ(again[0].request.text(), "one");
  EXPECT_EQ(again[0].conversation, 3);

  History history;
  Answer answer;
  answer.text = "hello";
  history.add(chat[0].request, answer);
  const v1::GenerateRequest next = history.with(chat[1].request);
  ASSERT_EQ(next.chat().messages_size(), 3);
  EXPECT_EQ(next.chat().messages(1).role(), "assistant");
  EXPECT_EQ(next.chat().messages(1).content(), "hello");
  EXPECT_EQ(next.chat().messages(2).content(), "more");
  EXPECT_EQ(next.request_id(), "load-1-1");
}

TEST(Prompts, SayWhichLineIsWrong) {
  const auto problem = [](const std::string& text) {
    const auto file = prompts(text);
    return file.ok() ? "none" : std::string(file.status().message());
  };
  EXPECT_EQ(problem("{\"text\": \"a\"}\n\nnot json\n"), "line 3: this is not JSON");
  EXPECT_EQ(problem("{\"text\": \"a\", \"token_ids\": [1]}"),
            "line 1: needs exactly one of text, messages, token_ids and conversations");
  EXPECT_EQ(problem("{\"token_ids\": [1, -1]}"),
            "line 1: token_ids: must be whole numbers in [0, 2147483647]");
  EXPECT_EQ(problem("{\"text\": \"a\", \"class\": \"none\"}"),
            "line 1: class: is none of the workload's classes");
  EXPECT_THAT(problem("{\"text\": \"" + std::string(300, 'a') + "\"}"),
              HasSubstr("line 1: is longer than 200 bytes"));
  EXPECT_THAT(problem("{\"text\": \"a\", \"session\": \"s\"}\n"
                      "{\"token_ids\": [1], \"session\": \"s\"}"),
              HasSubstr("line 2: session: its turns must all be"));
  EXPECT_THAT(problem("{\"messages\": [{\"role\": \"\", \"content\": \"\"}]}"),
              HasSubstr("line 1: messages[0].role: must not be empty"));
  EXPECT_EQ(problem("\n\n"), "it holds no prompts");
}

TEST(Prompts, AreTheElementsOfAnArrayToo) {
  const auto file = prompts(R"( [ {"text": "a, ] \\ \" }"} , {"token_ids": [1, 2]},
{"text": "b"}
]
)");
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->size(), 3u);
  EXPECT_EQ((*file)[0][0].prompt.text(), "a, ] \\ \" }");
  EXPECT_EQ((*file)[1][0].prompt.token_ids().ids_size(), 2);
  const auto problem = [](const std::string& text) {
    const auto wrong = prompts(text);
    return wrong.ok() ? "none" : std::string(wrong.status().message());
  };
  EXPECT_EQ(problem("[]"), "it holds no prompts");
  EXPECT_EQ(problem("[{\"text\": \"a\"}, "), "element 2: the array does not end");
  EXPECT_EQ(problem("[{\"text\": \"a\"},]"), "element 2: this is not JSON");
  EXPECT_EQ(problem("[{\"text\": \"a\"}] x"), "something follows the array");
  EXPECT_EQ(problem("[{\"text\": 1}]"), "element 1: text: must be a text");
  EXPECT_EQ(problem("[{\"text\": \"" + std::string(300, 'a') + "\"}]"),
            "element 1: is longer than 200 bytes");
  std::string many = "[";
  for (int i = 0; i < 101; ++i) many += "{\"text\": \"a\"},";
  many.back() = ']';
  EXPECT_EQ(problem(many), "element 101: is past the limit of 100");
}

// What a recorded answer is worth where a token is a byte.
absl::StatusOr<std::vector<int32_t>> bytes_of(const std::vector<std::string_view>& texts) {
  std::vector<int32_t> counts;
  for (const std::string_view text : texts) counts.push_back(static_cast<int32_t>(text.size()));
  return counts;
}

TEST(ShareGpt, TurnsAreAskedAgainWithTheLengthsOfTheirAnswers) {
  std::istringstream in(R"([
 {"id": "a", "model": "x", "conversations": [
   {"from": "system", "value": "be brief"}, {"from": "human", "value": "hi"},
   {"from": "gpt", "value": "hello"}, {"from": "user", "value": "one"},
   {"from": "human", "value": "two"}, {"from": "assistant", "value": "yes"},
   {"from": "human", "value": "unanswered"}]},
 {"id": "b", "conversations": []},
 {"id": "c", "conversations": [{"from": "gpt", "value": "unasked"}, {"from": "human", "value": "q"},
   {"from": "gpt", "value": ""}, {"from": "tool", "value": "no"}, {"from": "human", "value": "r"}]}])");
  auto file = read_prompts(in, {ClassSpec{}}, {});
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->size(), 2u);  // nothing is asked in b
  ASSERT_EQ((*file)[0].size(), 3u);
  ASSERT_EQ((*file)[1].size(), 1u);
  ASSERT_TRUE(count_recorded_answers(*file, 1, bytes_of).ok());
  EXPECT_EQ((*file)[0][0].answer_tokens, 5);
  EXPECT_EQ((*file)[0][1].answer_tokens, 3);
  EXPECT_EQ((*file)[0][2].answer_tokens, -1);
  EXPECT_EQ((*file)[0][0].recorded_answer, "");

  ClassSpec kind;
  kind.answer_tokens = Spread(77);
  PromptSource source(*std::move(file), {kind}, {});
  const Conversation turns = *source.next();
  ASSERT_EQ(turns[0].request.chat().messages_size(), 2);
  EXPECT_EQ(turns[0].request.chat().messages(0).role(), "system");
  EXPECT_EQ(turns[0].request.chat().messages(1).content(), "hi");
  EXPECT_EQ(turns[0].request.stop().max_new_tokens(), 5);
  ASSERT_EQ(turns[1].request.chat().messages_size(), 2);
  EXPECT_EQ(turns[1].request.chat().messages(0).role(), "user");
  EXPECT_EQ(turns[2].request.stop().max_new_tokens(), 77);
  EXPECT_TRUE(turns[2].last_turn);
  EXPECT_EQ((*source.next())[0].request.chat().messages(0).content(), "q");
}

TEST(ShareGpt, OnlyWhatWillBeAskedIsCounted) {
  std::istringstream in(
      R"({"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"xx"}]}
{"conversations":[{"from":"human","value":"b"},{"from":"gpt","value":"xxx"}]})");
  auto file = read_prompts(in, {ClassSpec{}}, {});
  ASSERT_TRUE(file.ok()) << file.status();
  size_t counted = 0;
  ASSERT_TRUE(count_recorded_answers(*file, 1, [&](const auto& texts) {
                counted += texts.size();
                return bytes_of(texts);
              }).ok());
  EXPECT_EQ(counted, 1u);
  EXPECT_EQ((*file)[1][0].answer_tokens, -1);
  EXPECT_EQ((*file)[1][0].recorded_answer, "");
  const auto refuse = [](const auto&) { return absl::UnavailableError("no tokenizer"); };
  (*file)[0][0].recorded_answer = "x";
  EXPECT_EQ(count_recorded_answers(*file, 1, refuse).message(), "no tokenizer");
}

TEST(ShareGpt, SaysWhatIsWrong) {
  const auto problem = [](const std::string& text) {
    const auto file = prompts(text);
    return file.ok() ? "none" : std::string(file.status().message());
  };
  EXPECT_EQ(problem(R"({"conversations": {}})"), "line 1: conversations: must be a list");
  EXPECT_EQ(problem(R"({"conversations": [{"from": "human"}]})"),
            "line 1: conversations[0].value: is missing");
  EXPECT_EQ(problem(R"([{"conversations": [{"from": "human", "value": 3}]}])"),
            "element 1: conversations[0].value: must be a text");
  EXPECT_EQ(problem(R"({"conversations": [3]})"), "line 1: conversations[0]: must be an object");
}

}  // namespace
}  // namespace switchyard
