// The subcommands of client/cli against a scripted node: what they send, print and return.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "client/cli/chat.h"
#include "client/cli/generate.h"
#include "client/cli/models.h"
#include "tests/client/stub_node.h"

namespace switchyard::test {
namespace {

using Said = StubNode::Said;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

struct Conversation {
  explicit Conversation(const StubNode& node, Lines from = Lines::kScript)
      : lines(from), stub(v1::ChatService::NewStub(open_channel({.target = node.address()}))) {
    flags.node.channel.target = node.address();
  }
  bool run(const std::string& typed) {
    ChatSession session(*stub, flags, {answers, messages}, lines);
    std::istringstream input(typed);
    return session.run(input);
  }

  Lines lines;
  ChatFlags flags;
  std::unique_ptr<v1::ChatService::Stub> stub;
  std::ostringstream answers;
  std::ostringstream messages;
};

std::vector<std::string> turns(const v1::CompleteRequest& request) {
  std::vector<std::string> lines;
  for (const v1::ChatMessage& turn : request.chat().messages())
    lines.push_back(turn.role() + ": " + turn.content());
  return lines;
}

TEST(Chat, SendsTheWholeConversationWithEachTurn) {
  StubNode node;
  node.says(answer<Said>("Hello Ada.")).says(answer<Said>("Ada."));
  Conversation chat(node);
  chat.flags.system = "Be short.";
  EXPECT_TRUE(chat.run("I am Ada.\n\nWho am I?\n"));
  const auto asked = node.conversations();
  ASSERT_EQ(asked.size(), 2);
  EXPECT_THAT(turns(asked[0]), ElementsAre("system: Be short.", "user: I am Ada."));
  EXPECT_THAT(turns(asked[1]), ElementsAre("system: Be short.", "user: I am Ada.",
                                           "assistant: Hello Ada.", "user: Who am I?"));
}

TEST(Chat, ShowsAScriptsQuestionsBesideTheAnswers) {
  StubNode node;
  node.says(answer<Said>("Yes.")).says(answer<Said>("No."));
  Conversation chat(node);
  EXPECT_TRUE(chat.run("Is it?\r\nIs it not?"));
  EXPECT_EQ(chat.answers.str(), "> Is it?\nYes.\n\n> Is it not?\nNo.\n\n");
  EXPECT_EQ(chat.messages.str(), "");
}

TEST(Chat, PromptsATypingPersonWithoutEcho) {
  StubNode node;
  node.says(answer<Said>("Yes."));
  Conversation chat(node, Lines::kTyped);
  EXPECT_TRUE(chat.run("Is it?\n"));
  EXPECT_EQ(chat.answers.str(), "> Yes.\n> \n");
}

TEST(Chat, ObeysItsCommandsAndSendsNoneOfThem) {
  StubNode node;
  node.says(answer<Said>("one")).says(answer<Said>("two")).says(answer<Said>("three"));
  Conversation chat(node);
  EXPECT_TRUE(
      chat.run("/help\na\n/system Rhyme.\nb\n/reset\n/nonsense\n/system\nc\n/exit\nnever sent\n"));
  const auto asked = node.conversations();
  ASSERT_EQ(asked.size(), 3);
  EXPECT_THAT(turns(asked[1]),
              ElementsAre("system: Rhyme.", "user: a", "assistant: one", "user: b"));
  EXPECT_THAT(turns(asked[2]), ElementsAre("user: c"));
  EXPECT_THAT(chat.messages.str(), HasSubstr("unknown command /nonsense"));
}

TEST(Chat, EndsAScriptAtItsFirstFailure) {
  StubNode node;
  node.says({.events = {}, .status = {grpc::StatusCode::FAILED_PRECONDITION, "too long"}});
  Conversation chat(node);
  EXPECT_FALSE(chat.run("first\nsecond\n"));
  EXPECT_EQ(node.conversations().size(), 1);
  EXPECT_THAT(chat.messages.str(), HasSubstr("error: "));
  EXPECT_THAT(chat.messages.str(), HasSubstr("too long"));
}

TEST(Chat, LetsAPersonGoOnAfterAFailureWithoutTheFailedTurn) {
  StubNode node;
  node.says({.events = {}, .status = {grpc::StatusCode::INTERNAL, "broken"}})
      .says(answer<Said>("fine"));
  Conversation chat(node, Lines::kTyped);
  EXPECT_TRUE(chat.run("first\nsecond\n"));
  EXPECT_THAT(turns(node.conversations().at(1)), ElementsAre("user: second"));
}

TEST(Chat, SendsOnlyTheSamplingFieldsThatWereGiven) {
  StubNode node;
  node.says(answer<Said>("x"));
  Conversation chat(node);
  chat.flags.answer.temperature = 0.0F;
  chat.flags.answer.seed = 5;
  chat.flags.answer.max_new_tokens = 9;
  EXPECT_TRUE(chat.run("q\n"));
  const v1::CompleteRequest request = node.conversations().at(0);
  EXPECT_TRUE(request.sampling().has_temperature());
  EXPECT_EQ(request.sampling().seed(), 5);
  EXPECT_FALSE(request.sampling().has_top_p());
  EXPECT_EQ(request.stop().max_new_tokens(), 9);
  EXPECT_FALSE(request.stop().has_min_new_tokens());
}

TEST(Chat, ShowsCountsAndTimesWhenAsked) {
  StubNode node;
  node.says(answer<Said>("x"));
  Conversation chat(node);
  chat.flags.stats = true;
  EXPECT_TRUE(chat.run("q\n"));
  EXPECT_EQ(
      chat.messages.str(),
      "[3 prompt + 2 answer tokens; first token after 18 ms; 100.0 tokens/s; ended by eos]\n");
}

TEST(Chat, NeverPassesEscapeSequencesToTheTerminal) {
  StubNode node;
  node.says(answer<Said>("\x1b]0;owned\x07 ok\xc2\x9b\x34 caf\xc3\xa9\n"));
  Conversation chat(node);
  EXPECT_TRUE(chat.run("q\n"));
  EXPECT_THAT(chat.answers.str(), Not(HasSubstr("\x1b")));
  EXPECT_THAT(chat.answers.str(), Not(HasSubstr("\xc2\x9b")));
  EXPECT_THAT(chat.answers.str(), HasSubstr("caf\xc3\xa9\n"));
}

TEST(Chat, KeepsWhatWasSaidWhenAnAnswerIsInterrupted) {
  StubNode node;
  node.says({.events = {started<Said>(), text<Said>("Once upon", {1})},
             .status = {},
             .then = Script<Said>::Then::kHold});
  node.says(answer<Said>("a time"));
  Conversation chat(node, Lines::kTyped);
  ChatSession session(*chat.stub, chat.flags, {chat.answers, chat.messages}, Lines::kTyped);
  std::istringstream input("story\ngo on\n");
  std::thread person([&] {
    // Ctrl-C until it has reached the node: before an answer it must be harmless.
    while (node.cancelled_calls() == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      if (node.conversations().size() == 1) session.interrupt();
    }
  });
  EXPECT_TRUE(session.run(input));
  person.join();
  const auto asked = node.conversations();
  ASSERT_EQ(asked.size(), 2);
  EXPECT_THAT(turns(asked[1]), ElementsAre("user: story", "assistant: Once upon", "user: go on"));
  EXPECT_THAT(chat.messages.str(), HasSubstr("(interrupted)"));
}

struct OneShot {
  explicit OneShot(const StubNode& node)
      : channel(open_channel({.target = node.address()})),
        generation(v1::GenerationService::NewStub(channel)),
        model(v1::ModelService::NewStub(channel)) {}
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::GenerationService::Stub> generation;
  std::unique_ptr<v1::ModelService::Stub> model;
  std::istringstream input;
  std::ostringstream answers;
  std::ostringstream messages;
};

TEST(Generate, StreamsTextAndReturnsZero) {
  StubNode node;
  node.streams(answer<StubNode::Generated>("and so on"));
  OneShot shot(node);
  GenerateFlags flags;
  flags.prompt = "tell";
  EXPECT_EQ(generate(flags, *shot.generation, shot.input, {shot.answers, shot.messages}), 0);
  EXPECT_EQ(shot.answers.str(), "and so on\n");
}

TEST(Generate, PrintsOneJsonObjectWithZerosIncluded) {
  StubNode node;
  OneShot shot(node);
  shot.input.str("from standard input");
  GenerateFlags flags;
  flags.prompt = "-";
  flags.json = true;
  EXPECT_EQ(generate(flags, *shot.generation, shot.input, {shot.answers, shot.messages}), 0);
  for (const char* part :
       {"\"text\": \"from standard input, of course\"", "\"token_ids\"", "\"completion_tokens\": 1",
        "\"cached_tokens\": 0", "\"FINISH_REASON_MAX_TOKENS\""}) {
    EXPECT_THAT(shot.answers.str(), HasSubstr(part));
  }
}

TEST(Generate, ReturnsOneAndSaysWhyWhenTheNodeRefuses) {
  StubNode node;
  google::rpc::BadRequest bad;
  auto* violation = bad.add_field_violations();
  violation->set_field("stop.max_new_tokens");
  violation->set_description("must be above 0");
  node.streams(
      {.events = {}, .status = status_with(grpc::StatusCode::INVALID_ARGUMENT, "bad", bad)});
  OneShot shot(node);
  GenerateFlags flags;
  flags.prompt = "x";
  EXPECT_EQ(generate(flags, *shot.generation, shot.input, {shot.answers, shot.messages}), 1);
  EXPECT_THAT(shot.messages.str(), HasSubstr("stop.max_new_tokens: must be above 0"));
  EXPECT_EQ(shot.answers.str(), "");
}

v1::Model small_model() {
  v1::Model model;
  model.set_name("demo");
  model.set_architecture("Lfm2ForCausalLM");
  model.set_context_tokens(512);
  model.set_vocab_size(4096);
  model.set_weight_bytes(3 << 20);
  model.set_has_tokenizer(true);
  model.mutable_sampling_defaults()->set_temperature(0.5F);
  model.add_eos_token_ids(7);
  return model;
}

TEST(Models, ListsThemAsATable) {
  StubNode node;
  node.serves(small_model());
  OneShot shot(node);
  EXPECT_EQ(models({}, *shot.model, {shot.answers, shot.messages}), 0);
  EXPECT_THAT(
      shot.answers.str(),
      HasSubstr("demo  Lfm2ForCausalLM       512        4096       3.0 MiB  tokens, text\n"));
}

TEST(Models, ShowsOneWithItsDefaults) {
  StubNode node;
  node.serves(small_model());
  OneShot shot(node);
  ModelsFlags flags;
  flags.name = "demo";
  EXPECT_EQ(models(flags, *shot.model, {shot.answers, shot.messages}), 0);
  EXPECT_THAT(shot.answers.str(), HasSubstr("{\"temperature\":0.5}"));
  flags.name = "other";
  EXPECT_EQ(models(flags, *shot.model, {shot.answers, shot.messages}), 1);
  EXPECT_THAT(shot.messages.str(), HasSubstr("not found: model other"));
}

}  // namespace
}  // namespace switchyard::test
