// Which steps of a model are captured, what of them comes to the host, and that steps launched
// ahead give the same, seen at the runner itself.
#include "engine/run/model_runner.h"

#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "engine/weights/weight_store.h"
#include "tests/engine/run/engine_driver.h"

namespace switchyard {
namespace {

enum class Steps { kOneByOne, kOverlapped };

// A runner with a scheduler, without a thread.
struct SteppedModel {
  explicit SteppedModel(std::vector<int> graph_rows)
      : backend(make_backend("cpu", {.threads = 1}).backend),
        model(Model::load(load_model_config(fixture("lfm2_moe_odd")).value(),
                          WeightStore::open(fixture("lfm2_moe_odd"), *backend).value())
                  .value()),
        runner(ModelRunner::create(*model,
                                   *backend,
                                   {.batch = {.max_tokens = 4,
                                              .max_rows = 3,
                                              .max_blocks_per_row = 2,
                                              .block_tokens = 16,
                                              .max_edits = 331},
                                    .blocks = 7,
                                    .state_slots = 4,
                                    .kv_type = DType::kF32,
                                    .graph_rows = std::move(graph_rows)})
                   .value()) {}

  // An answer of 5 tokens to a prompt of 7, which comes in chunks of at most 4.
  std::shared_ptr<Answer> ask(const std::function<void(RequestFields&)>& change =
                                  [](RequestFields&) {}) {
    auto answer = std::make_shared<Answer>();
    RequestFields fields;
    fields.id = RequestId{++asked};
    fields.prompt = {5, 6, 7, 8, 9, 10, 11};
    fields.sampling.temperature = 0;
    fields.stop.max_new_tokens = 5;
    fields.stop.ignore_eos = true;
    fields.sink = answer;
    change(fields);
    scheduler.add(
        Request::make(std::move(fields),
                      {.vocab_size = 331, .context_tokens = 32, .kv_tokens = 96, .eos_tokens = {}})
            .value(),
        {});
    return answer;
  }

  // Graphs that were there after each step.
  std::vector<size_t> run(Steps steps = Steps::kOneByOne) {
    std::vector<size_t> captured;
    std::optional<StepPlan> in_flight;
    while (!scheduler.idle()) {
      std::optional<StepPlan> launched = scheduler.plan();
      EXPECT_TRUE(scheduler.commit(*launched).empty());
      if (launched->computes()) {
        for (const PlannedRow& row : launched->rows) drawn_ahead += row.drawn_in_row >= 0 ? 1 : 0;
        runner->launch(*launched);
        captured.push_back(runner->captured_graphs());
      } else {
        launched.reset();
      }
      if (steps == Steps::kOverlapped) std::swap(launched, in_flight);
      if (launched) finish(*launched);
    }
    return captured;
  }

  void finish(const StepPlan& plan) {
    tokens = runner->collect();
    const StepOutcome outcome = scheduler.finish(plan, tokens);
    for (const AnswerStep& step : outcome.deltas) step.sink->on_delta(step.delta);
  }

  // One step alone.
  void step() {
    const StepPlan plan = scheduler.plan();
    EXPECT_TRUE(scheduler.commit(plan).empty());
    runner->launch(plan);
    finish(plan);
  }

  ManualClock clock;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<const Model> model;
  std::unique_ptr<ModelRunner> runner;
  SequenceMemory memory{{.blocks = 7, .block_tokens = 16, .state_slots = 4}};
  Scheduler scheduler{{.max_batch_tokens = 4, .max_batch_rows = 3, .max_step_edits = 331},
                      admit_if_it_fits,
                      memory,
                      clock};
  StepTokens tokens;  // of the last step
  int drawn_ahead = 0;
  uint64_t asked = 0;
};

TEST(ModelRunner, CapturesOneGraphForItsBucketAtTheFirstStepThatDecodes) {
  SteppedModel replayed({2});
  const auto padded = replayed.ask();
  // Two chunks of the prompt, then four steps that decode, padded from one row to two.
  EXPECT_EQ(replayed.run(), (std::vector<size_t>{0, 0, 1, 1, 1, 1}));
  SteppedModel eager({});
  const auto exact = eager.ask();
  EXPECT_EQ(eager.run(), std::vector<size_t>(6, 0));
  EXPECT_EQ(padded->tokens(), exact->tokens());
  EXPECT_EQ(exact->tokens().size(), 5u);
}

TEST(ModelRunner, WarmsUpEveryBucketWithoutATraceInWhatFollows) {
  SteppedModel warm({1, 3});
  warm.runner->warm_up();
  EXPECT_EQ(warm.runner->captured_graphs(), 2u);
  const auto replayed = warm.ask();
  EXPECT_EQ(warm.run(), std::vector<size_t>(6, 2));
  SteppedModel cold({1, 3});
  const auto first = cold.ask();
  cold.run();
  EXPECT_EQ(replayed->tokens(), first->tokens());
}

class StepsAhead : public ::testing::TestWithParam<std::vector<int>> {};  // of graph rows

// Greedy, drawn with a seed, and with penalties, which wait for the tokens they depend on.
TEST_P(StepsAhead, DrawTheSameTokensAsStepsOneByOne) {
  std::vector<std::vector<int32_t>> answers[2];
  for (const Steps steps : {Steps::kOneByOne, Steps::kOverlapped}) {
    SteppedModel stepped(GetParam());
    std::vector<std::shared_ptr<Answer>> asked;
    asked.push_back(stepped.ask());
    asked.push_back(stepped.ask([](RequestFields& fields) {
      fields.sampling.temperature = 1;
      fields.sampling.seed = 42;
      fields.stop.max_new_tokens = 12;
    }));
    asked.push_back(stepped.ask([](RequestFields& fields) {
      fields.sampling.repetition_penalty = 1.5F;
      fields.sampling.logit_bias = {{9, 3}, {11, -4}};
      fields.stop.max_new_tokens = 9;
    }));
    stepped.run(steps);
    EXPECT_EQ(stepped.drawn_ahead > 0, steps == Steps::kOverlapped);
    for (const auto& answer : asked) {
      answers[static_cast<int>(steps)].push_back(answer->tokens());
    }
  }
  EXPECT_EQ(answers[0], answers[1]);
  EXPECT_EQ(answers[0][1].size(), 12u);
}

INSTANTIATE_TEST_SUITE_P(ModelRunner,
                         StepsAhead,
                         ::testing::Values(std::vector<int>{}, std::vector<int>{1, 3}),
                         [](const auto& instance) {
                           return std::string(instance.param.empty() ? "Eager" : "Replayed");
                         });

TEST(ModelRunner, BringsOnlyWhatSomeRowWants) {
  SteppedModel plain({});
  plain.ask();
  plain.step();
  EXPECT_TRUE(plain.tokens.token.empty());  // a chunk
  plain.step();
  EXPECT_EQ(plain.tokens.token.size(), 1u);
  EXPECT_TRUE(plain.tokens.logprob.empty());
  EXPECT_TRUE(plain.tokens.top_token.empty());

  SteppedModel wanting({});
  wanting.ask([](RequestFields& fields) { fields.sampling.logprobs = true; });
  wanting.step();
  wanting.step();
  ASSERT_EQ(wanting.tokens.logprob.size(), 1u);
  EXPECT_LT(wanting.tokens.logprob[0], 0);
  EXPECT_TRUE(wanting.tokens.top_token.empty());

  SteppedModel curious({});
  curious.ask([](RequestFields& fields) {
    fields.sampling.logprobs = true;
    fields.sampling.top_logprobs = 3;
  });
  curious.step();
  curious.step();
  ASSERT_EQ(curious.tokens.top_count, kMaxTopLogprobs);
  EXPECT_EQ(curious.tokens.top_token[0], curious.tokens.token[0]);  // it is greedy
  EXPECT_EQ(curious.tokens.top_logprob[0], curious.tokens.logprob[0]);
  EXPECT_EQ(curious.tokens.logprob[0], wanting.tokens.logprob[0]);
}

TEST(ModelRunner, KeepsWhatAStepDrewWhileTheNextIsComputed) {
  SteppedModel stepped({});
  const auto answer = stepped.ask([](RequestFields& fields) { fields.prompt = {5, 6, 7}; });
  const auto launch = [&] {
    StepPlan plan = stepped.scheduler.plan();
    EXPECT_TRUE(stepped.scheduler.commit(plan).empty());
    stepped.runner->launch(plan);
    return plan;
  };
  const StepPlan first = launch();
  const StepPlan second = launch();
  const StepTokens drawn = stepped.runner->collect();
  const int32_t token = drawn.token[0];
  (void)stepped.scheduler.finish(first, drawn);
  stepped.finish(second);
  EXPECT_EQ(drawn.token[0], token);  // its view held
  EXPECT_NE(answer->tokens().at(0), token);
}

}  // namespace
}  // namespace switchyard
