// Questions that a node can answer, through its sockets.
#include <gtest/gtest.h>

#include "tests/node/test_node.h"

namespace switchyard {
namespace {

TEST(Answers, AStreamAddsUpToTheUnaryAnswer) {
  TestNode node;
  const v1::GenerateRequest request = greedy("What is the capital of France?", 20);
  v1::GenerateResponse whole;
  ASSERT_TRUE(generate(node, request, &whole).ok());
  Stream stream(node, request);
  ASSERT_TRUE(stream.next());
  EXPECT_EQ(stream.event.started().node_id(), "test-node");
  EXPECT_EQ(stream.event.started().model(), "demo-model");
  EXPECT_GT(stream.event.started().prompt_tokens(), 0);
  ASSERT_TRUE(stream.read_to_end().ok());
  EXPECT_EQ(stream.text, whole.text());
  EXPECT_EQ(stream.tokens.size(), 20u);
  EXPECT_TRUE(std::equal(stream.tokens.begin(), stream.tokens.end(), whole.token_ids().begin()));
  EXPECT_EQ(stream.usage.completion_tokens(), 20);
  EXPECT_EQ(whole.finished().reason(), v1::FINISH_REASON_MAX_TOKENS);
  EXPECT_TRUE(node.becomes_idle());
}

TEST(Answers, MetricsGrowByWhatUsageSays) {
  TestNode node;
  Metrics& metrics = node.node().metrics();
  v1::GenerateResponse answer;
  ASSERT_TRUE(generate(node, greedy("one two three", 7), &answer).ok());
  ASSERT_TRUE(node.becomes_idle());
  EXPECT_EQ(metrics.generation_tokens, 7u);
  EXPECT_EQ(metrics.prompt_tokens_computed + metrics.prompt_tokens_cached,
            static_cast<uint64_t>(answer.usage().prompt_tokens()));
  const auto max_tokens = static_cast<size_t>(FinishReason::kMaxTokens);
  EXPECT_EQ(metrics.finished[0][max_tokens], 1u);
  EXPECT_GE(metrics.steps, 7u);
}

TEST(Answers, AChatIsItsRenderedPrompt) {
  TestNode node;
  v1::ChatInput chat;
  chat.add_messages()->set_role("user");
  chat.mutable_messages(0)->set_content("What is the capital of Italy?");
  v1::RenderChatRequest render;
  *render.mutable_chat() = chat;
  v1::RenderChatResponse rendered;
  grpc::ClientContext first;
  ASSERT_TRUE(node.generation->RenderChat(&first, render, &rendered).ok());
  EXPECT_NE(rendered.text().find("capital of Italy"), std::string::npos);

  v1::CompleteRequest ask;
  *ask.mutable_chat() = chat;
  ask.mutable_sampling()->set_temperature(0);
  v1::CompleteResponse completed;
  grpc::ClientContext second;
  ASSERT_TRUE(node.chat->Complete(&second, ask, &completed).ok());
  EXPECT_EQ(completed.message().role(), "assistant");
  EXPECT_EQ(completed.usage().prompt_tokens(), rendered.token_ids_size());
  EXPECT_EQ(completed.finished().reason(), v1::FINISH_REASON_EOS);
}

TEST(Answers, TruncationKeepsTheEndOfThePrompt) {
  TestNode node;
  v1::GenerateRequest request = long_prompt(50);
  request.set_truncate_prompt_tokens(8);
  v1::GenerateResponse cut, last;
  ASSERT_TRUE(generate(node, request, &cut).ok());
  v1::GenerateRequest end = request;
  end.clear_truncate_prompt_tokens();
  end.mutable_token_ids()->mutable_ids()->erase(end.token_ids().ids().begin(),
                                                end.token_ids().ids().begin() + 42);
  ASSERT_TRUE(generate(node, end, &last).ok());
  EXPECT_EQ(cut.usage().prompt_tokens(), 8);
  EXPECT_EQ(cut.text(), last.text());
}

TEST(Answers, ADrawnSeedIsReportedAndDrawsTheSameAgain) {
  TestNode node;
  v1::GenerateRequest request = greedy("Once", 12);
  request.mutable_sampling()->set_temperature(1.5);
  v1::GenerateResponse first, other, again;
  ASSERT_TRUE(generate(node, request, &first).ok());
  ASSERT_TRUE(generate(node, request, &other).ok());
  EXPECT_NE(first.started().seed(), other.started().seed());
  request.mutable_sampling()->set_seed(first.started().seed());
  ASSERT_TRUE(generate(node, request, &again).ok());
  EXPECT_EQ(first.text(), again.text());
}

TEST(Answers, TheNodeTellsWhatItIs) {
  TestNode node;
  grpc::ClientContext first, second, third;
  v1::ListModelsResponse models;
  ASSERT_TRUE(node.models->ListModels(&first, {}, &models).ok());
  ASSERT_EQ(models.models_size(), 1);
  EXPECT_TRUE(models.models(0).has_tokenizer());
  EXPECT_TRUE(models.models(0).has_chat_template());
  EXPECT_EQ(models.models(0).context_tokens(), 2048);
  v1::GetNodeInfoResponse info;
  ASSERT_TRUE(node.telemetry->GetNodeInfo(&second, {}, &info).ok());
  EXPECT_EQ(info.node_id(), "test-node");
  EXPECT_EQ(info.backend(), "cpu");
  v1::GetLoadResponse load;
  ASSERT_TRUE(node.telemetry->GetLoad(&third, {}, &load).ok());
  EXPECT_EQ(load.state(), v1::NODE_STATE_READY);
  EXPECT_EQ(load.kv_blocks_total(), info.kv_blocks());
}

}  // namespace
}  // namespace switchyard
