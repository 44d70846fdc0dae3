// The whole engine against transformers' greedy continuations: however requests are cut into
// chunks, batched, preempted or replayed, each answer is the one it has alone.
#include <gtest/gtest.h>

#include <map>

#include "tests/engine/run/engine_driver.h"

namespace switchyard {
namespace {

struct Case {
  const char* name;
  const char* model;
  EngineOptions options;
  bool expects_preemption = false;
};

EngineOptions chunks_of(int tokens) {
  EngineOptions options = exact_options();
  options.max_batch_tokens = tokens;
  options.max_batch_rows = std::min(8, tokens);
  return options;
}

EngineOptions replaying() {
  EngineOptions options = exact_options();
  options.graph_rows = {1, 2, 4, 8};
  return options;
}

// Room for the longest prompt and little else: the others give way and are computed again.
EngineOptions short_of_memory() {
  EngineOptions options = exact_options();
  options.kv_block_tokens = 16;
  const int64_t block_bytes = 2 * 2 * 2 * 16 * 12 * 4;  // K and V, layers, heads, tokens, dim, f32
  options.kv_memory_bytes = block_bytes * 70;
  return options;
}

class EngineOracle : public ::testing::TestWithParam<Case> {};

TEST_P(EngineOracle, AnswersAllPromptsAtOnceAsTransformersAnswersEachAlone) {
  const Case& wanted = GetParam();
  const nlohmann::json expected = expected_of(wanted.model);
  RunningEngine running(wanted.options, wanted.model);
  std::map<std::string, std::shared_ptr<Answer>> answers;
  for (const auto& [length, prompt] : expected["prompts"].items()) {
    answers[length] = running.ask(running.fields(prompt["ids"], 64));
  }
  int preemptions = 0;
  for (const auto& [length, prompt] : expected["prompts"].items()) {
    const EndOfAnswer end = answers[length]->wait();
    EXPECT_EQ(end.reason, FinishReason::kMaxTokens) << end.status.message();
    EXPECT_EQ(answers[length]->tokens(), prompt["greedy"].get<std::vector<int32_t>>())
        << "prompt of " << length;
    EXPECT_EQ(end.usage.completion_tokens, 64);
    EXPECT_EQ(end.usage.prompt_tokens, std::stoi(length));
    preemptions += end.usage.preemptions;
  }
  EXPECT_EQ(preemptions > 0, wanted.expects_preemption) << preemptions;
  running.expect_nothing_held();
}

INSTANTIATE_TEST_SUITE_P(
    Engine,
    EngineOracle,
    ::testing::Values(Case{"Whole", "lfm2_moe_odd", exact_options()},
                      Case{"ChunksOfOne", "lfm2_moe_odd", chunks_of(1)},
                      Case{"ChunksOfSeven", "lfm2_moe_odd", chunks_of(7)},
                      Case{"ChunksOf64", "lfm2_moe_odd", chunks_of(64)},
                      Case{"Replaying", "lfm2_moe_odd", replaying()},
                      Case{"ShortOfMemory", "lfm2_moe_odd", short_of_memory(), true},
                      Case{"Overlapped", "lfm2_moe_odd", overlapped(exact_options())},
                      Case{"OverlappedChunksOfSeven", "lfm2_moe_odd", overlapped(chunks_of(7))},
                      Case{"OverlappedReplaying", "lfm2_moe_odd", overlapped(replaying())},
                      Case{"OverlappedShortOfMemory", "lfm2_moe_odd", overlapped(short_of_memory()),
                           true},
                      Case{"Stacked", "lfm2_moe_stacked", exact_options()},
                      Case{"Dense", "lfm2_dense", exact_options()},
                      Case{"Bf16", "lfm2_moe_bf16", exact_options()}),
    [](const auto& instance) { return instance.param.name; });

class EngineSeed : public ::testing::TestWithParam<float> {};  // of a repetition penalty

TEST_P(EngineSeed, DrawsTheSameTokensWhateverSharesTheBatchAndHoweverStepsOverlap) {
  const auto sampled = [](RunningEngine& running) {
    RequestFields fields = running.fields({9, 8, 7, 6}, 40);
    fields.sampling.temperature = 0.9F;
    fields.sampling.top_p = 0.95F;
    fields.sampling.repetition_penalty = GetParam();
    fields.sampling.seed = 1234567890123;
    fields.stop.min_new_tokens = 20;
    return fields;
  };
  RunningEngine alone(exact_options());
  const auto quiet = alone.ask(sampled(alone));
  quiet->wait();

  RunningEngine ahead(overlapped(replaying()));
  const auto early = ahead.ask(sampled(ahead));
  early->wait();
  EXPECT_EQ(quiet->tokens(), early->tokens());

  RunningEngine busy(overlapped(exact_options()));
  std::vector<std::shared_ptr<Answer>> others;
  for (int i = 0; i < 12; ++i) {
    RequestFields other = busy.fields({1 + i, 2, 3}, 30 + i);
    other.sampling.temperature = 1;
    other.sampling.seed = static_cast<uint64_t>(i);
    others.push_back(busy.ask(std::move(other)));
  }
  const auto loud = busy.ask(sampled(busy));
  loud->wait();
  for (const auto& other : others) other->wait();
  EXPECT_EQ(quiet->tokens(), loud->tokens());
  EXPECT_NE(quiet->tokens(), others[0]->tokens());
}

INSTANTIATE_TEST_SUITE_P(Engine, EngineSeed, ::testing::Values(1.0F, 1.1F));

}  // namespace
}  // namespace switchyard
