#include "engine/batch/batch_builder.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "tests/support/scheduler_world.h"

namespace switchyard {
namespace {

constexpr BatchLimits kLimits{
    .max_tokens = 40, .max_rows = 8, .max_blocks_per_row = 20, .block_tokens = 4, .max_edits = 16};

std::vector<int32_t> list(const int32_t* values, int count) { return {values, values + count}; }

int32_t id_of(BlockId block) { return static_cast<int32_t>(block); }

// One answer that has its first token, and a question of six tokens that came after.
struct MixedStep : SchedulerWorld {
  MixedStep() {
    ask(5, [](RequestFields& fields) {
      fields.prompt = {10, 11, 12, 13, 14};
      fields.sampling.frequency_penalty = 1;
    });
    step(20);
    ask(6, [](RequestFields& fields) {
      fields.prompt = {30, 31, 32, 33, 34, 35};
      fields.sampling.logit_bias = {{7, 1.5F}, {8, -1}};
      fields.sampling.seed = 99;
    });
    plan = begin();
    decoding = plan.rows.at(0).sequence;
    prompt = plan.rows.at(1).sequence;
  }
  StepPlan plan;
  const Sequence* decoding = nullptr;
  const Sequence* prompt = nullptr;
};

TEST(BatchBuilder, LaysOutRowsWithTheirTokensLengthsBlocksAndState) {
  MixedStep world;
  BatchBuilder builder(kLimits);
  const HostBatch host = builder.build(world.plan, exact_counts(world.plan));
  const RaggedBatch batch = host.on(host.block.data());

  EXPECT_EQ(batch.num_tokens, 7);
  EXPECT_EQ(batch.num_rows, 2);
  EXPECT_EQ(batch.num_logits, 2);
  EXPECT_EQ(list(batch.token, 7), (std::vector<int32_t>{20, 30, 31, 32, 33, 34, 35}));
  EXPECT_EQ(list(batch.position, 7), (std::vector<int32_t>{5, 0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(list(batch.row_start, 3), (std::vector<int32_t>{0, 1, 7}));
  EXPECT_EQ(list(batch.kv_len, 2), (std::vector<int32_t>{6, 6}));
  EXPECT_EQ(list(batch.block_start, 3), (std::vector<int32_t>{0, 2, 4}));
  const auto a = world.decoding->lease().blocks();
  const auto b = world.prompt->lease().blocks();
  EXPECT_EQ(list(batch.block_id, 4),
            (std::vector<int32_t>{id_of(a[0]), id_of(a[1]), id_of(b[0]), id_of(b[1])}));
  EXPECT_EQ(list(batch.kv_slot, 7),
            (std::vector<int32_t>{4 * id_of(a[1]) + 1, 4 * id_of(b[0]), 4 * id_of(b[0]) + 1,
                                  4 * id_of(b[0]) + 2, 4 * id_of(b[0]) + 3, 4 * id_of(b[1]),
                                  4 * id_of(b[1]) + 1}));
  EXPECT_EQ(list(batch.state_slot, 2),
            (std::vector<int32_t>{static_cast<int32_t>(world.decoding->lease().state()),
                                  static_cast<int32_t>(world.prompt->lease().state())}));
  EXPECT_EQ(list(batch.logit_token, 2), (std::vector<int32_t>{0, 6}));
  EXPECT_EQ(*batch.live_tokens, 7);
}

TEST(BatchBuilder, GivesEachLogitRowItsSamplingAndItsEdits) {
  MixedStep world;
  BatchBuilder builder(kLimits);
  const HostBatch host = builder.build(world.plan, exact_counts(world.plan));
  const BatchSampling sampling = host.sampling_on(host.block.data());
  const SampleRow& first = sampling.rows[0];
  const SampleRow& second = sampling.rows[1];
  ASSERT_EQ(first.edit_end - first.edit_begin, 1);
  EXPECT_EQ(sampling.edits[first.edit_begin].token, 20);
  EXPECT_EQ(sampling.edits[first.edit_begin].output_count, 1);
  EXPECT_EQ(second.edit_begin, first.edit_end);
  ASSERT_EQ(second.edit_end - second.edit_begin, 2);
  EXPECT_EQ(sampling.edits[second.edit_begin].token, 7);
  EXPECT_EQ(sampling.edits[second.edit_begin + 1].token, 8);
  EXPECT_EQ(first.position, 6);
  EXPECT_EQ(second.position, 6);
  EXPECT_EQ(second.seed_low, 99u);
}

TEST(BatchBuilder, UploadsNoMoreThanTheStepHas) {
  MixedStep world;
  BatchBuilder builder(kLimits);
  const HostBatch host = builder.build(world.plan, exact_counts(world.plan));
  const BatchSampling sampling = host.sampling_on(host.block.data());
  const LogitEdit* end = sampling.edits + sampling.rows[1].edit_end;
  EXPECT_EQ(reinterpret_cast<const std::byte*>(end), host.block.data() + host.block.size());
  // Edits begin behind the four block ids, at the next whole edit.
  EXPECT_EQ(sampling.rows[0].edit_begin, 1);
  EXPECT_GE(sampling.num_edits, 16 + 8 * 20 * 4 / 16);
}

TEST(BatchBuilder, WantsOnTheHostWhatTheRowThatWantsMostWants) {
  const auto wanted = [](const std::function<void(RequestFields&)>& change) {
    SchedulerWorld world;
    world.ask(4);
    world.ask(4, change);
    const StepPlan plan = world.begin();
    BatchBuilder builder(kLimits);
    return builder.build(plan, exact_counts(plan)).wanted;
  };
  EXPECT_EQ(wanted([](RequestFields&) {}), DrawnParts::kTokens);
  EXPECT_EQ(wanted([](RequestFields& fields) { fields.sampling.logprobs = true; }),
            DrawnParts::kLogprobs);
  EXPECT_EQ(wanted([](RequestFields& fields) {
              fields.sampling.logprobs = true;
              fields.sampling.top_logprobs = 1;
            }),
            DrawnParts::kTopLogprobs);
}

TEST(BatchBuilder, NamesTheLogitRowOfATokenThatIsStillBeingDrawn) {
  SchedulerWorld world;
  world.ask(3);
  world.ask(5, [](RequestFields& fields) { fields.stop.min_new_tokens = 1; });
  (void)world.begin();
  const StepPlan plan = world.begin();
  BatchBuilder builder(kLimits);
  const HostBatch host = builder.build(plan, exact_counts(plan));
  const RaggedBatch batch = host.on(host.block.data());
  EXPECT_EQ(list(batch.token, 2), (std::vector<int32_t>{-1, -2}));
  EXPECT_EQ(list(batch.position, 2), (std::vector<int32_t>{3, 5}));
  EXPECT_EQ(list(batch.kv_len, 2), (std::vector<int32_t>{4, 6}));
  const BatchSampling sampling = host.sampling_on(host.block.data());
  EXPECT_EQ(sampling.rows[0].position, 4);
  EXPECT_EQ(sampling.rows[1].position, 6);
  // The second token of the answer may be its end, whatever the first will be.
  ASSERT_EQ(sampling.rows[1].edit_end - sampling.rows[1].edit_begin, 1);
  EXPECT_EQ(sampling.edits[sampling.rows[1].edit_begin].bias, 0);
}

TEST(BatchBuilder, PadsWithRowsThatTouchOnlyTheSinks) {
  MixedStep world;
  BatchBuilder builder(kLimits);
  const HostBatch host = builder.build(world.plan, {.tokens = 10, .rows = 5, .logits = 4});
  const RaggedBatch batch = host.on(host.block.data());
  EXPECT_EQ(batch.num_tokens, 10);
  EXPECT_EQ(batch.num_rows, 5);
  EXPECT_EQ(batch.num_logits, 4);
  EXPECT_EQ(list(batch.row_start, 6), (std::vector<int32_t>{0, 1, 7, 8, 9, 10}));
  const std::vector<int32_t> zeros(3, 0);
  EXPECT_EQ(list(batch.token + 7, 3), zeros);
  EXPECT_EQ(list(batch.position + 7, 3), zeros);
  EXPECT_EQ(list(batch.kv_slot + 7, 3), zeros);
  EXPECT_EQ(list(batch.kv_len + 2, 3), std::vector<int32_t>(3, 1));
  EXPECT_EQ(list(batch.state_slot + 2, 3), zeros);
  EXPECT_EQ(list(batch.block_start + 2, 4), (std::vector<int32_t>{4, 5, 6, 7}));
  EXPECT_EQ(list(batch.block_id + 4, 3), zeros);
  EXPECT_EQ(list(batch.logit_token, 4), (std::vector<int32_t>{0, 6, 7, 7}));
  EXPECT_EQ(*batch.live_tokens, 7);
  const SampleRow& padding = host.sampling_on(host.block.data()).rows[3];
  EXPECT_EQ(padding.temperature, 0);
  EXPECT_EQ(padding.edit_begin, padding.edit_end);
}

TEST(BatchBuilder, GivesAChunkThatIsNotTheLastNoLogits) {
  SchedulerWorld world;
  world.ask(70);
  const StepPlan plan = world.begin();
  BatchBuilder builder(kLimits);
  const HostBatch host = builder.build(plan, exact_counts(plan));
  EXPECT_EQ(host.counts.tokens, 32);
  EXPECT_EQ(host.counts.logits, 0);
  // The row's blocks end with its tokens, however many the sequence has leased.
  EXPECT_EQ(host.on(host.block.data()).block_start[1], 8);
}

TEST(BatchBuilder, KeepsEveryArrayWhereItWasInStepsOfTheSameCounts) {
  constexpr PaddedCounts kCounts{.tokens = 11, .rows = 6, .logits = 6};
  alignas(64) static std::byte device[16];
  MixedStep mixed;
  SchedulerWorld plain;
  for (const int tokens : {1, 1, 1, 2, 5}) plain.ask(tokens);
  BatchBuilder builder(kLimits);
  const HostBatch one = builder.build(mixed.plan, kCounts);
  (void)builder.build(mixed.plan, exact_counts(mixed.plan));
  const HostBatch two = builder.build(plain.begin(), kCounts);
  const RaggedBatch first = one.on(device);
  const RaggedBatch second = two.on(device);
  EXPECT_EQ(first.block_id, second.block_id);
  EXPECT_EQ(first.logit_token, second.logit_token);
  EXPECT_EQ(one.sampling_on(device).rows, two.sampling_on(device).rows);
  EXPECT_EQ(one.sampling_on(device).edits, two.sampling_on(device).edits);
  EXPECT_EQ(one.sampling_on(device).num_edits, two.sampling_on(device).num_edits);
}

TEST(BatchBuilder, AlignsEveryArrayAndFitsTheDeviceBlock) {
  MixedStep world;
  BatchBuilder builder(kLimits);
  alignas(64) static std::byte device[16];
  const HostBatch host = builder.build(world.plan, {.tokens = 11, .rows = 6, .logits = 6});
  const RaggedBatch batch = host.on(device);
  for (const int32_t* array : {batch.token, batch.position, batch.kv_slot, batch.row_start,
                               batch.kv_len, batch.block_start, batch.block_id, batch.state_slot,
                               batch.logit_token, batch.live_tokens}) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(array) % 64, 0u);
  }
  EXPECT_EQ(reinterpret_cast<uintptr_t>(host.sampling_on(device).rows) % 64, 0u);
  EXPECT_EQ(host.block_bytes, builder.block_bytes());
  EXPECT_GE(host.block_bytes, int64_t{4} * (3 * 40 + 5 * 8 + 3 + 8 * 20) + 8 * 56 + 16 * 16);
  // Nine arrays of up to 64 bytes, six sample rows, a tail of eight block ids and three edits.
  EXPECT_LE(host.block.size(), 64u * (9 + 6 + 2));
}

TEST(BatchBuilder, ForgetsTheStepBefore) {
  MixedStep world;
  BatchBuilder builder(kLimits);
  (void)builder.build(world.plan, {.tokens = 13, .rows = 8, .logits = 8});
  const HostBatch again = builder.build(world.plan, exact_counts(world.plan));
  BatchBuilder fresh(kLimits);
  const HostBatch expected = fresh.build(world.plan, exact_counts(world.plan));
  EXPECT_EQ(again.block.size(), expected.block.size());
  const RaggedBatch batch = again.on(again.block.data());
  EXPECT_EQ(list(batch.row_start, 3), (std::vector<int32_t>{0, 1, 7}));
}

TEST(BatchBuilderDeathTest, StopsOnCountsThatCannotBePadded) {
  MixedStep world;
  BatchBuilder builder(kLimits);
  const auto build = [&](PaddedCounts counts) { (void)builder.build(world.plan, counts); };
  EXPECT_DEATH(build({.tokens = 6, .rows = 2, .logits = 2}), "CHECK");
  EXPECT_DEATH(build({.tokens = 8, .rows = 2, .logits = 2}), "CHECK");
  EXPECT_DEATH(build({.tokens = 7, .rows = 2, .logits = 3}), "CHECK");
  EXPECT_DEATH(build({.tokens = 14, .rows = 9, .logits = 2}), "CHECK");
}

}  // namespace
}  // namespace switchyard
