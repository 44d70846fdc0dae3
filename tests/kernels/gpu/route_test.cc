// route on the GPU: choices and weights against double arithmetic on the rows it left in `normed`,
// and the sorted entries against the choices.
#include <numeric>

#include "tests/kernels/gpu/device.h"

namespace switchyard::gpu {
namespace {

struct Shape {
  int64_t tokens, experts, width;
  int top_k;
};

struct Routed {
  Owned expert, weight, order, start, normed;
};

struct Layer {
  Owned x, gain, bias;
  Weight router;
};

class Route : public Device {
 protected:
  Layer layer(const Shape& shape, double spread = 0.3) {
    router_ =
        std::make_unique<Owned>(Owned::random(DType::kBf16, {shape.experts, shape.width}, 3,
                                              2 / std::sqrt(static_cast<double>(shape.width))));
    return {.x = Owned::random(DType::kBf16, {shape.tokens, shape.width}, 1),
            .gain = Owned::random(DType::kF32, {shape.width}, 2),
            .bias = Owned::random(DType::kF32, {shape.experts}, 4, spread),
            .router = pack(*router_, WeightFormat::kBf16)};
  }
  Routed run(const Shape& shape,
             const Layer& layer,
             const RouterSpec& spec,
             const int32_t* live_tokens = nullptr) {
    const Routing routing = {
        .expert = poisoned(DType::kI32, {shape.tokens, shape.top_k}),
        .weight = poisoned(DType::kF32, {shape.tokens, shape.top_k}),
        .order = poisoned(DType::kI32, {shape.tokens * shape.top_k}),
        .expert_start = poisoned(DType::kI32, {shape.experts + 1}),
    };
    const Tensor normed = poisoned(DType::kBf16, {shape.tokens, shape.width});
    const bool biased = layer.bias.view().dim(0) == shape.experts;
    backend().route(
        {.routing = routing,
         .input = {.x = put(layer.x), .gain = put(layer.gain), .epsilon = 1e-5F, .normed = normed},
         .router = layer.router,
         .bias = biased ? put(layer.bias) : Tensor(),
         .spec = spec,
         .live_tokens = live_tokens});
    return {get(routing.expert), get(routing.weight), get(routing.order), get(routing.expert_start),
            get(normed)};
  }
  // The unbiased scores, in double, of the rows that were multiplied.
  Doubles scores(const Owned& normed) {
    Doubles score = reference::product(normed.values(), router_->values(), router_->view().dim(1));
    for (double& value : score) value = 1 / (1 + std::exp(-value));
    return score;
  }
  static void expect_sorted(const Shape& shape, const Routed& routed) {
    std::vector<int32_t> order(static_cast<size_t>(shape.tokens * shape.top_k));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return routed.expert.at(a) < routed.expert.at(b);
    });
    size_t place = 0;
    for (int64_t e = 0; e <= shape.experts; ++e) {
      ASSERT_EQ(routed.start.at(e), static_cast<double>(place)) << "expert " << e;
      while (place < order.size() && routed.expert.at(order[place]) == static_cast<double>(e)) {
        ASSERT_EQ(routed.order.at(static_cast<int64_t>(place)), order[place]);
        ++place;
      }
    }
  }
  std::unique_ptr<Owned> router_;
};

TEST_F(Route, ChoosesByTheBiasedScoreAndWeighsByTheUnbiased) {
  for (const Shape& shape : std::vector<Shape>{{1, 32, 2048, 4},
                                               {2, 32, 2048, 4},
                                               {3, 7, 77, 3},
                                               {8, 32, 2048, 4},
                                               {5, 64, 2052, 6},
                                               {7, 1024, 72, 8},
                                               {1, 300, 4096, 300},
                                               {2, 2, 37, 1},
                                               {9, 8, 96, 2},
                                               {61, 32, 2048, 4},
                                               {130, 1024, 48, 10},
                                               {64, 5, 14500, 5},
                                               {1500, 64, 640, 6}}) {
    SCOPED_TRACE(std::to_string(shape.tokens) + " tokens, " + std::to_string(shape.top_k) + " of " +
                 std::to_string(shape.experts) + ", width " + std::to_string(shape.width));
    const Layer test = layer(shape);
    const RouterSpec spec = {.top_k = shape.top_k, .renormalise_epsilon = 1e-6F, .scale = 2.5F};
    const Routed routed = run(shape, test, spec);
    reference::expect_close(
        routed.normed, reference::norm(test.x.values(), test.gain.values(), 1e-5), kBf16Tolerance);
    const Doubles score = scores(routed.normed);
    for (int64_t t = 0; t < shape.tokens; ++t) {
      const auto selection = [&](int64_t e) {
        return score[t * shape.experts + e] + test.bias.at(e);
      };
      std::vector<int64_t> order(shape.experts);
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(),
                       [&](int64_t a, int64_t b) { return selection(a) > selection(b); });
      double total = 1e-6;
      std::vector<bool> seen(shape.experts);
      for (int k = 0; k < shape.top_k; ++k) {
        const auto e = static_cast<int64_t>(routed.expert.at(t * shape.top_k + k));
        ASSERT_TRUE(e >= 0 && e < shape.experts && !seen[e]) << e;
        seen[e] = true;
        // The same expert, or one that f32 cannot tell from it.
        ASSERT_NEAR(selection(e), selection(order[k]), 2e-6);
        total += score[t * shape.experts + e];
      }
      for (int k = 0; k < shape.top_k; ++k) {
        const auto e = static_cast<int64_t>(routed.expert.at(t * shape.top_k + k));
        ASSERT_NEAR(routed.weight.at(t * shape.top_k + k),
                    2.5 * score[t * shape.experts + e] / total, 1e-5);
      }
    }
    expect_sorted(shape, routed);
    const Routed again = run(shape, test, spec);
    EXPECT_TRUE(again.weight.same_bits(routed.weight) && again.order.same_bits(routed.order) &&
                again.expert.same_bits(routed.expert) && again.start.same_bits(routed.start));
  }
}

TEST_F(Route, NeedsNeitherBiasNorRenormalising) {
  for (const int64_t tokens : {2, 40}) {
    const Shape shape = {tokens, 12, 72, 3};
    Layer test = layer(shape);
    const Routed routed = run(shape, {test.x, test.gain, Owned(DType::kF32, {1}), test.router},
                              {.top_k = 3, .renormalise_epsilon = {}});
    const Doubles score = scores(routed.normed);
    for (int64_t i = 0; i < tokens * 3; ++i) {
      const auto e = static_cast<int64_t>(routed.expert.at(i));
      EXPECT_NEAR(routed.weight.at(i), score[i / 3 * 12 + e], 1e-6);
    }
    expect_sorted(shape, routed);
  }
}

TEST_F(Route, GivesTiesToTheLowerExpertAndSurvivesNaN) {
  for (const int64_t tokens : {3, 20}) {
    const Shape shape = {tokens, 40, 64, 4};
    Layer test = layer(shape);
    for (int64_t i = 0; i < 64; ++i) test.x.set(i, 0);  // all scores of the first token are 1/2
    test.x.set(64, std::numeric_limits<float>::quiet_NaN());
    for (int64_t e = 0; e < 40; ++e) test.bias.set(e, e == 33 ? 1.0F : 0.0F);
    const Routed routed = run(shape, test, {.top_k = 4, .renormalise_epsilon = {}});
    const std::vector<double> first = {33, 0, 1, 2};
    for (int k = 0; k < 4; ++k) {
      EXPECT_EQ(routed.expert.at(k), first[k]);
      EXPECT_EQ(routed.expert.at(4 + k), k);  // nothing is known of the broken token
    }
    expect_sorted(shape, routed);
  }
}

TEST_F(Route, LetsPaddingChooseNone) {
  for (const int64_t experts : {32, 70}) {
    for (const int64_t tokens : {1, 4, 8, 24, 300}) {
      for (const int64_t live : {int64_t{0}, tokens / 2, tokens - 1, tokens}) {
        SCOPED_TRACE(std::to_string(live) + " of " + std::to_string(tokens));
        const Shape shape = {tokens, experts, 96, 4};
        const Layer test = layer(shape);
        const RouterSpec spec = {.top_k = 4, .renormalise_epsilon = 1e-6F};
        const Routed all = run(shape, test, spec);
        const Routed some =
            run(shape, test, spec, put(std::vector<int32_t>{static_cast<int32_t>(live)}));
        EXPECT_TRUE(some.normed.same_bits(all.normed));
        int64_t place = 0;
        for (int64_t e = 0; e < experts; ++e) {
          ASSERT_EQ(some.start.at(e), place) << "expert " << e;
          for (int64_t i = 0; i < live * 4; ++i) {
            if (all.expert.at(i) == static_cast<double>(e)) {
              ASSERT_EQ(some.order.at(place++), static_cast<double>(i));
            }
          }
        }
        EXPECT_EQ(some.start.at(experts), live * 4);
        for (int64_t i = 0; i < tokens * 4; ++i) {
          EXPECT_EQ(some.expert.at(i), i < live * 4 ? all.expert.at(i) : -1);
          EXPECT_EQ(some.weight.at(i), i < live * 4 ? all.weight.at(i) : 0);
        }
      }
    }
  }
}

// Every entry chooses one expert; the others have none.
TEST_F(Route, SortsManyEntriesOfOneExpert) {
  const Shape shape = {8192, 32, 64, 4};
  Layer test = layer(shape);
  for (int64_t e = 0; e < 32; ++e) test.bias.set(e, e % 9 == 3 ? 5.0F : 0.0F);
  const Routed routed = run(shape, test, {.top_k = 4, .renormalise_epsilon = {}});
  for (int64_t i = 0; i < shape.tokens * 4; ++i)
    ASSERT_EQ(static_cast<int>(routed.expert.at(i)) % 9, 3);
  expect_sorted(shape, routed);
}

}  // namespace
}  // namespace switchyard::gpu
