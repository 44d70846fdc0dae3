// What protobuf says becomes what the engine understands, field by field, and back.
#include <gtest/gtest.h>

#include <google/protobuf/util/json_util.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "node/convert_answer.h"
#include "node/convert_request.h"
#include "node/convert_status.h"
#include "switchyard/v1/chat.pb.h"
#include "switchyard/v1/generation.pb.h"

namespace switchyard {
namespace {

template <typename Message>
Message from_json(const std::string& json) {
  Message message;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(json, &message).ok()) << json;
  return message;
}

Result<Question> ask(const std::string& json, const SamplingParameters& defaults = {}) {
  return read_question(from_json<v1::GenerateRequest>(json), defaults);
}

std::string field_of(const std::string& json) { return ask(json).status().field(); }

TEST(ReadQuestion, TakesEveryFieldThatIsSet) {
  const auto question = ask(R"({
    "request_id": "mine", "model": "m", "text": "hi", "add_special_tokens": false,
    "truncate_prompt_tokens": 5, "priority": -3, "logprobs": {"top": 2},
    "sampling": {"temperature": 0, "top_k": 4, "top_p": 0.5, "min_p": 0.1,
                 "repetition_penalty": 1.5, "presence_penalty": -1, "frequency_penalty": 2,
                 "seed": "18446744073709551615", "logit_bias": {"7": -5}},
    "stop": {"max_new_tokens": 9, "min_new_tokens": 2, "stop_strings": ["a"],
             "stop_token_ids": [3], "ignore_eos": true, "include_stop": true}})");
  ASSERT_TRUE(question.ok()) << question.status().message();
  EXPECT_EQ(question->label, "mine");
  EXPECT_EQ(question->model, "m");
  EXPECT_EQ(std::get<TextPrompt>(question->prompt).text, "hi");
  EXPECT_FALSE(std::get<TextPrompt>(question->prompt).add_special_tokens);
  EXPECT_EQ(question->truncate_prompt_tokens, 5);
  EXPECT_EQ(question->priority, -3);
  const SamplingParameters& sampling = question->sampling;
  EXPECT_EQ(sampling.temperature, 0);
  EXPECT_EQ(sampling.top_k, 4);
  EXPECT_EQ(sampling.top_p, 0.5F);
  EXPECT_EQ(sampling.min_p, 0.1F);
  EXPECT_EQ(sampling.repetition_penalty, 1.5F);
  EXPECT_EQ(sampling.presence_penalty, -1);
  EXPECT_EQ(sampling.frequency_penalty, 2);
  EXPECT_EQ(question->seed, ~uint64_t{0});
  EXPECT_EQ(sampling.logit_bias, (std::vector<std::pair<int32_t, float>>{{7, -5.0F}}));
  EXPECT_TRUE(sampling.logprobs);
  EXPECT_EQ(sampling.top_logprobs, 2);
  EXPECT_EQ(question->max_new_tokens, 9);
  EXPECT_EQ(question->stop.min_new_tokens, 2);
  EXPECT_EQ(question->stop.stop_strings, std::vector<std::string>{"a"});
  EXPECT_EQ(question->stop.stop_tokens, std::vector<int32_t>{3});
  EXPECT_TRUE(question->stop.ignore_eos);
  EXPECT_TRUE(question->stop.include_stop);
}

TEST(ReadQuestion, TakesTheModelsDefaultsWhereNothingIsSet) {
  SamplingParameters defaults;
  defaults.temperature = 0.3F;
  defaults.min_p = 0.15F;
  const auto question = ask(R"({"text": "hi", "sampling": {"min_p": 0}})", defaults);
  ASSERT_TRUE(question.ok());
  EXPECT_EQ(question->sampling.temperature, 0.3F);
  EXPECT_EQ(question->sampling.min_p, 0);  // zero is not unset
  EXPECT_FALSE(question->seed);
  EXPECT_FALSE(question->max_new_tokens);
  EXPECT_FALSE(question->sampling.logprobs);
  EXPECT_TRUE(std::get<TextPrompt>(question->prompt).add_special_tokens);
}

TEST(ReadQuestion, NamesTheFieldThatIsWrong) {
  EXPECT_EQ(field_of("{}"), "input");
  EXPECT_EQ(field_of(R"({"token_ids": {"ids": [1]}, "add_special_tokens": true})"),
            "add_special_tokens");
  EXPECT_EQ(field_of(R"({"text": "", "truncate_prompt_tokens": 0})"), "truncate_prompt_tokens");
  EXPECT_EQ(field_of(R"({"text": "", "logprobs": {"top": 21}})"), "logprobs.top");
  EXPECT_EQ(field_of(R"({"chat": {}})"), "chat.messages");
  EXPECT_EQ(field_of(R"({"chat": {"messages": [{"content": "x"}]}})"), "chat.messages.role");
  EXPECT_EQ(field_of("{\"text\": \"\", \"request_id\": \"" + std::string(257, 'x') + "\"}"),
            "request_id");
}

TEST(ReadQuestion, KeepsTheTypesOfTemplateArguments) {
  const auto question = read_question(
      from_json<v1::CompleteRequest>(
          R"({"chat": {"messages": [{"role": "user", "content": "hi"}], "template_arguments":
              {"n": 3, "x": 0.5, "on": true, "none": null, "list": [1, {"a": "b"}]}}})"),
      {});
  ASSERT_TRUE(question.ok());
  const auto& chat = std::get<ChatPrompt>(question->prompt);
  EXPECT_TRUE(chat.add_generation_prompt);
  EXPECT_TRUE(chat.arguments["n"].is_number_integer());
  EXPECT_EQ(chat.arguments["x"], 0.5);
  EXPECT_EQ(chat.arguments["on"], true);
  EXPECT_TRUE(chat.arguments["none"].is_null());
  EXPECT_EQ(chat.arguments["list"].dump(), R"([1,{"a":"b"}])");
}

TEST(ReadQuestion, RefusesANumberThatIsNone) {
  v1::ChatInput chat;
  chat.add_messages()->set_role("user");
  (*chat.mutable_template_arguments()->mutable_fields())["x"].set_number_value(
      std::numeric_limits<double>::infinity());
  EXPECT_EQ(read_chat(chat).status().field(), "chat.template_arguments");
}

TEST(WriteAnswer, PutsEveryPartWhereTheApiSaysIt) {
  AnswerDelta delta;
  delta.tokens = {5, 6};
  delta.text = "hi";
  delta.logprobs = {{.token = 5, .logprob = -0.5F, .top = {{5, -0.5F}, {9, -2.0F}}}};
  v1::GenerateStreamResponse event;
  ASSERT_TRUE(parse(GenerationFormat().delta(delta), event));
  EXPECT_EQ(event.delta().token_count(), 2);
  EXPECT_EQ(event.delta().text(), "hi");
  EXPECT_EQ(event.delta().token_ids(1), 6);
  EXPECT_EQ(event.delta().logprobs(0).top(1).token_id(), 9);

  EndOfAnswer end;
  end.reason = FinishReason::kStopToken;
  end.matched_token = 6;
  end.usage = {.prompt_tokens = 3, .cached_tokens = 1, .completion_tokens = 2, .preemptions = 4};
  end.timings.total = std::chrono::milliseconds(1500);
  const AnswerHead head{
      .node_id = "n", .model = "m", .id = RequestId{8}, .seed = 11, .prompt_tokens = 3};
  v1::CompleteResponse whole;
  ASSERT_TRUE(parse(ChatFormat().whole(head, delta, end), whole));
  EXPECT_EQ(whole.message().role(), "assistant");
  EXPECT_EQ(whole.message().content(), "hi");
  EXPECT_EQ(whole.started().id(), 8u);
  EXPECT_EQ(whole.started().seed(), 11u);
  EXPECT_EQ(whole.finished().reason(), v1::FINISH_REASON_STOP_TOKEN);
  EXPECT_EQ(whole.finished().matched_token_id(), 6);
  EXPECT_EQ(whole.usage().preemptions(), 4);
  EXPECT_EQ(whole.usage().timings().total().nanos(), 500'000'000);
}

google::rpc::Status details_of(const Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(to_grpc(status).error_details()));
  return details;
}

TEST(WriteStatus, DetailsSayWhatToDo) {
  google::rpc::BadRequest bad;
  ASSERT_TRUE(details_of(Status::invalid("stop.x", "no")).details(0).UnpackTo(&bad));
  EXPECT_EQ(bad.field_violations(0).field(), "stop.x");

  const auto busy = details_of(Status::busy(Code::kResourceExhausted, "QUEUE_FULL",
                                            std::chrono::milliseconds(1500), "full"));
  google::rpc::ErrorInfo info;
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(busy.details(0).UnpackTo(&info));
  ASSERT_TRUE(busy.details(1).UnpackTo(&retry));
  EXPECT_EQ(info.reason(), "QUEUE_FULL");
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
  EXPECT_EQ(retry.retry_delay().nanos(), 500'000'000);

  google::rpc::ResourceInfo resource;
  ASSERT_TRUE(details_of(Status(Code::kNotFound, "no such").with_reason("gpt-17"))
                  .details(0)
                  .UnpackTo(&resource));
  EXPECT_EQ(resource.resource_name(), "gpt-17");

  google::rpc::PreconditionFailure failure;
  ASSERT_TRUE(
      details_of(Status(Code::kFailedPrecondition, "too big")).details(0).UnpackTo(&failure));
  EXPECT_EQ(failure.violations(0).description(), "too big");
}

TEST(WriteStatus, NeverSendsALongOrBrokenMessage) {
  const std::string long_text = std::string(511, 'x') + "\xc3\xa9" + std::string(100'000, 'y');
  const grpc::Status status = to_grpc(Status(Code::kInvalidArgument, long_text));
  EXPECT_LT(status.error_message().size(), 600u);
  EXPECT_EQ(status.error_message().substr(511), "\xef\xbf\xbd");
  EXPECT_LT(
      to_grpc(Status(Code::kNotFound, long_text).with_reason(long_text)).error_details().size(),
      4096u);
}

}  // namespace
}  // namespace switchyard
