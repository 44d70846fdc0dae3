// Which steps of a model are captured, seen at the runner itself.
#include "engine/run/model_runner.h"

#include <gtest/gtest.h>

#include "engine/weights/weight_store.h"
#include "tests/engine/run/engine_driver.h"

namespace switchyard {
namespace {

// One answer of 5 tokens to a prompt of 7 in chunks of at most 4, step by step.
struct SteppedAnswer {
  explicit SteppedAnswer(std::vector<int> graph_rows)
      : backend(make_backend("cpu", {.threads = 1}).backend),
        model(Model::load(load_model_config(fixture("lfm2_moe_odd")).value(),
                          WeightStore::open(fixture("lfm2_moe_odd"), *backend).value())
                  .value()),
        runner(ModelRunner::create(*model,
                                   *backend,
                                   {.batch = {.max_tokens = 4,
                                              .max_rows = 2,
                                              .max_blocks_per_row = 2,
                                              .block_tokens = 16},
                                    .blocks = 3,
                                    .state_slots = 3,
                                    .kv_type = DType::kF32,
                                    .graph_rows = std::move(graph_rows)})
                   .value()) {
    RequestFields fields;
    fields.id = RequestId{1};
    fields.prompt = {5, 6, 7, 8, 9, 10, 11};
    fields.sampling.temperature = 0;
    fields.stop.max_new_tokens = 5;
    fields.stop.ignore_eos = true;
    fields.sink = answer;
    scheduler.add(
        Request::make(std::move(fields),
                      {.vocab_size = 331, .context_tokens = 32, .kv_tokens = 32, .eos_tokens = {}})
            .value(),
        {});
  }

  // Graphs that were there after each step.
  std::vector<size_t> run() {
    std::vector<size_t> captured;
    while (!scheduler.idle()) {
      const StepPlan plan = scheduler.plan();
      EXPECT_TRUE(scheduler.commit(plan).empty());
      runner->launch(plan);
      const StepOutcome outcome = scheduler.finish(plan, runner->collect());
      for (const AnswerStep& step : outcome.deltas) step.sink->on_delta(step.delta);
      captured.push_back(runner->captured_graphs());
    }
    return captured;
  }

  ManualClock clock;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<const Model> model;
  std::unique_ptr<ModelRunner> runner;
  SequenceMemory memory{{.blocks = 3, .block_tokens = 16, .state_slots = 3}};
  Scheduler scheduler{
      {.max_batch_tokens = 4, .max_batch_rows = 2}, admit_if_it_fits, memory, clock};
  std::shared_ptr<Answer> answer = std::make_shared<Answer>();
};

TEST(ModelRunner, CapturesOneGraphForItsBucketAtTheFirstStepThatDecodes) {
  SteppedAnswer replayed({2});
  // Two chunks of the prompt, then four steps that decode, padded from one row to two.
  EXPECT_EQ(replayed.run(), (std::vector<size_t>{0, 0, 1, 1, 1, 1}));
  SteppedAnswer eager({});
  EXPECT_EQ(eager.run(), std::vector<size_t>(6, 0));
  EXPECT_EQ(replayed.answer->tokens(), eager.answer->tokens());
  EXPECT_EQ(eager.answer->tokens().size(), 5u);
}

}  // namespace
}  // namespace switchyard
