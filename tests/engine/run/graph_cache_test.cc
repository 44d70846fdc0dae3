#include "engine/run/graph_cache.h"

#include <gtest/gtest.h>

#include "kernels/make_backend.h"

namespace switchyard {
namespace {

PaddedCounts decode(int rows) { return {.tokens = rows, .rows = rows, .logits = rows}; }

TEST(GraphCache, PadsAStepThatDecodesToTheNextBucket) {
  const GraphCache graphs({4, 1, 8});
  EXPECT_EQ(graphs.bucket_for(decode(1))->rows, 1);
  EXPECT_EQ(graphs.bucket_for(decode(2))->tokens, 4);
  EXPECT_EQ(graphs.bucket_for(decode(8))->logits, 8);
}

TEST(GraphCache, LeavesOtherStepsAsTheyAre) {
  const GraphCache graphs({4});
  EXPECT_FALSE(graphs.bucket_for(decode(5)));
  EXPECT_FALSE(graphs.bucket_for({.tokens = 3, .rows = 2, .logits = 2}));
  EXPECT_FALSE(graphs.bucket_for({.tokens = 2, .rows = 2, .logits = 1}));
  EXPECT_FALSE(GraphCache({}).bucket_for(decode(1)));
}

TEST(GraphCache, CapturesOnceAndReplaysWhatWasEnqueued) {
  const auto backend = make_backend("cpu", {.threads = 1}).backend;
  std::vector<float> x(8, 2), gain(8, 1), weight(16, 1), out(2);
  int captures = 0;
  GraphCache graphs({1});
  const auto ops = [&] {
    ++captures;
    backend->linear(
        {.out = Tensor(out.data(), DType::kF32, {1, 2}),
         .input = {.x = Tensor(x.data(), DType::kF32, {1, 8}), .gain = {}, .normed = {}},
         .weight = {.data = weight.data(), .format = WeightFormat::kF32, .rows = 2, .cols = 8},
         .residual = {}});
  };
  graphs.run(*backend, decode(1), ops);
  EXPECT_EQ(out[0], 16);
  x.assign(8, 3);
  graphs.run(*backend, decode(1), ops);
  EXPECT_EQ(out[1], 24);
  EXPECT_EQ(captures, 1);
  EXPECT_EQ(graphs.captured(), 1u);
}

}  // namespace
}  // namespace switchyard
