// route, expert_up and expert_down against the reference.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "kernels/cpu/cpu_backend.h"
#include "tests/kernels/cpu_weight.h"
#include "tests/kernels/reference.h"

namespace switchyard {
namespace {

using reference::CpuWeight;
using reference::Doubles;
using reference::expect_close;
using reference::Owned;

constexpr int64_t kWidth = 37;
constexpr int64_t kHidden = 45;

struct Case {
  WeightFormat format;
  int64_t tokens;
  int64_t experts;
  int top_k;
};

struct RoutingMemory {
  RoutingMemory(int64_t tokens, int64_t top_k, int64_t experts)
      : expert(Owned::poisoned(DType::kI32, {tokens, top_k})),
        weight(Owned::poisoned(DType::kF32, {tokens, top_k})),
        order(Owned::poisoned(DType::kI32, {tokens * top_k})),
        start(Owned::poisoned(DType::kI32, {experts + 1})) {}
  [[nodiscard]] Routing view() const {
    return {.expert = expert.view(),
            .weight = weight.view(),
            .order = order.view(),
            .expert_start = start.view()};
  }
  Owned expert, weight, order, start;
};

class Moe : public testing::TestWithParam<Case> {};

TEST_P(Moe, RoutesByTheBiasedScoreAndWeighsByTheUnbiased) {
  const auto [format, tokens, experts, top_k] = GetParam();
  const Owned x = Owned::random(DType::kF32, {tokens, kWidth}, 1);
  const Owned gain = Owned::random(DType::kF32, {kWidth}, 2);
  // A router is never quantised.
  const CpuWeight router = CpuWeight::random(is_quantised(format) ? WeightFormat::kBf16 : format,
                                             experts, kWidth, 3, 0.4);
  const Owned bias = Owned::random(DType::kF32, {experts}, 4, 0.3);
  Owned normed = Owned::poisoned(DType::kF32, {tokens, kWidth});
  const RoutingMemory routing(tokens, top_k, experts);
  CpuBackend backend(2);
  backend.route(
      {.routing = routing.view(),
       .input = {.x = x.view(), .gain = gain.view(), .epsilon = 1e-5f, .normed = normed.view()},
       .router = router.view(),
       .bias = bias.view(),
       .spec = {.top_k = top_k, .renormalise_epsilon = 1e-6f, .scale = 2.5f}});

  const Doubles rows = reference::norm(x.values(), gain.values(), 1e-5);
  Doubles score = reference::product(rows, router.values(), kWidth);
  for (double& value : score) value = 1 / (1 + std::exp(-value));
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<int64_t> order(experts);
    std::iota(order.begin(), order.end(), 0);
    const auto selection = [&](int64_t e) { return score[t * experts + e] + bias.at(e); };
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return selection(a) > selection(b); });
    double total = 1e-6;
    for (int k = 0; k < top_k; ++k) total += score[t * experts + order[k]];
    for (int k = 0; k < top_k; ++k) {
      EXPECT_EQ(routing.expert.at(t * top_k + k), static_cast<double>(order[k]));
      EXPECT_NEAR(routing.weight.at(t * top_k + k), 2.5 * score[t * experts + order[k]] / total,
                  1e-5);
    }
  }
  int64_t place = 0;
  for (int64_t e = 0; e < experts; ++e) {
    EXPECT_EQ(routing.start.at(e), static_cast<double>(place));
    for (int64_t i = 0; i < tokens * top_k; ++i) {
      if (routing.expert.at(i) == static_cast<double>(e)) {
        EXPECT_EQ(routing.order.at(place++), static_cast<double>(i));
      }
    }
  }
  EXPECT_EQ(routing.start.at(experts), static_cast<double>(tokens * top_k));
}

// A routing made here: token t takes experts (t * 3 + 2 k) mod E, so some experts have no row.
RoutingMemory made_up_routing(const Case& test) {
  RoutingMemory routing(test.tokens, test.top_k, test.experts);
  std::vector<std::vector<int32_t>> entries(test.experts);
  for (int64_t i = 0; i < test.tokens * test.top_k; ++i) {
    const int64_t t = i / test.top_k, k = i % test.top_k;
    const int64_t e = (t % 4 * 3 + 2 * k) % test.experts;
    routing.expert.view().i32()[i] = static_cast<int32_t>(e);
    routing.weight.set(i, 0.25f + 0.1f * static_cast<float>(k));
    entries[e].push_back(static_cast<int32_t>(i));
  }
  int32_t place = 0;
  for (int64_t e = 0; e < test.experts; ++e) {
    routing.start.view().i32()[e] = place;
    for (const int32_t entry : entries[e]) routing.order.view().i32()[place++] = entry;
  }
  routing.start.view().i32()[test.experts] = place;
  return routing;
}

struct Experts {
  Experts(WeightFormat format, int64_t count, int64_t rows, int64_t cols, uint32_t seed)
      : all(CpuWeight::random(format, count * rows, cols, seed, 0.3)) {
    const WeightBytes each = CpuBackend(1).weight_bytes(format, all.view().group, rows, cols);
    for (int64_t e = 0; e < count; ++e) {
      codes.push_back(all.data().data() + e * each.data);
      scales.push_back(all.scale_bytes().data() + e * each.scale);
    }
    view = {.data = codes.data(),
            .scale = is_quantised(format) ? scales.data() : nullptr,
            .format = format,
            .group = all.view().group,
            .experts = count,
            .rows = rows,
            .cols = cols};
  }
  Experts(const Experts&) = delete;
  Experts& operator=(const Experts&) = delete;
  [[nodiscard]] Doubles expert(int64_t e) const {
    const Doubles values = all.values();
    const int64_t size = view.rows * view.cols;
    return {values.begin() + e * size, values.begin() + (e + 1) * size};
  }
  CpuWeight all;
  std::vector<const void*> codes, scales;
  ExpertWeight view;
};

Doubles row_of(const Doubles& matrix, int64_t row, int64_t width) {
  return {matrix.begin() + row * width, matrix.begin() + (row + 1) * width};
}

TEST_P(Moe, SendsEachTokenThroughItsExperts) {
  const auto [format, tokens, experts, top_k] = GetParam();
  const RoutingMemory routing = made_up_routing(GetParam());
  const Experts gate(format, experts, kHidden, kWidth, 1), up(format, experts, kHidden, kWidth, 2),
      down(format, experts, kWidth, kHidden, 3);
  const Owned x = Owned::random(DType::kF32, {tokens, kWidth}, 4);
  const Owned residual = Owned::random(DType::kF32, {tokens, kWidth}, 5);

  Doubles want_hidden, want = residual.values();
  for (int64_t i = 0; i < tokens * top_k; ++i) {
    const auto e = static_cast<int64_t>(routing.expert.at(i));
    const Doubles hidden = reference::gated(row_of(x.values(), i / top_k, kWidth), gate.expert(e),
                                            up.expert(e), kWidth);
    want_hidden.insert(want_hidden.end(), hidden.begin(), hidden.end());
    const Doubles out = reference::product(hidden, down.expert(e), kHidden);
    for (int64_t j = 0; j < kWidth; ++j) {
      want[i / top_k * kWidth + j] += routing.weight.at(i) * out[j];
    }
  }
  std::optional<Owned> first;
  for (const int threads : {1, 2, 3}) {
    CpuBackend backend(threads);
    Owned hidden = Owned::poisoned(DType::kF32, {tokens * top_k, kHidden});
    Owned work = Owned::poisoned(DType::kF32, {tokens * top_k, kWidth});
    Owned out(residual);  // in place
    backend.expert_up({.out = hidden.view(),
                       .x = x.view(),
                       .routing = routing.view(),
                       .gate = gate.view,
                       .up = up.view});
    backend.expert_down({.out = out.view(),
                         .hidden = hidden.view(),
                         .residual = out.view(),
                         .routing = routing.view(),
                         .down = down.view,
                         .expert_work = work.view()});
    expect_close(hidden, want_hidden);
    expect_close(out, want);
    if (!first) first.emplace(out);
    EXPECT_TRUE(first->same_bits(out)) << threads << " threads";
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes,
                         Moe,
                         testing::Values(Case{WeightFormat::kF32, 1, 7, 3},
                                         Case{WeightFormat::kBf16, 1, 32, 4},
                                         Case{WeightFormat::kF16, 5, 8, 2},
                                         Case{WeightFormat::kBf16, 130, 9, 3},
                                         Case{WeightFormat::kF32, 3, 4, 4},
                                         Case{WeightFormat::kInt4, 1, 32, 4},
                                         Case{WeightFormat::kInt4, 130, 9, 3},
                                         Case{WeightFormat::kInt8, 5, 8, 2},
                                         Case{WeightFormat::kFp8, 13, 7, 3}));

TEST(MoeBatch, GivesATokenTheSameBitsAloneAndAmongOthers) {
  const Case test{WeightFormat::kInt4, 60, 9, 3};
  const RoutingMemory routing = made_up_routing(test);
  const Experts gate(test.format, 9, kHidden, kWidth, 1), up(test.format, 9, kHidden, kWidth, 2);
  const Owned x = Owned::random(DType::kF32, {60, kWidth}, 4);
  Owned batched = Owned::poisoned(DType::kF32, {60 * 3, kHidden});
  Owned alone = Owned::poisoned(DType::kF32, {3, kHidden});
  CpuBackend backend(1);
  backend.expert_up({.out = batched.view(),
                     .x = x.view(),
                     .routing = routing.view(),
                     .gate = gate.view,
                     .up = up.view});
  backend.expert_up({.out = alone.view(),
                     .x = x.view().first(1),
                     .routing = made_up_routing({test.format, 1, 9, 3}).view(),
                     .gate = gate.view,
                     .up = up.view});
  EXPECT_EQ(0, std::memcmp(alone.view().data, batched.view().data, alone.view().bytes()));
}

// Of `tokens`, all behind the first `live` are padding: other tokens get what they get without it.
void expect_padding_left_out(int64_t tokens, int64_t live, int64_t experts) {
  SCOPED_TRACE(std::to_string(live) + " of " + std::to_string(tokens));
  constexpr int kTopK = 3;
  const Owned x = Owned::random(DType::kF32, {tokens, kWidth}, 1);
  const CpuWeight router = CpuWeight::random(WeightFormat::kF32, experts, kWidth, 2, 0.4);
  const Experts gate(WeightFormat::kInt8, experts, kHidden, kWidth, 3),
      up(WeightFormat::kInt8, experts, kHidden, kWidth, 4),
      down(WeightFormat::kInt8, experts, kWidth, kHidden, 5);
  CpuBackend backend(2);
  struct Results {
    RoutingMemory routing;
    Owned hidden, out;
  };
  const auto run = [&](int64_t count, const int32_t* live_tokens) {
    Results results{RoutingMemory(count, kTopK, experts),
                    Owned::poisoned(DType::kF32, {count * kTopK, kHidden}),
                    Owned::poisoned(DType::kF32, {count, kWidth})};
    const Routing routing = results.routing.view();
    Owned work = Owned::poisoned(DType::kF32, {count * kTopK, kWidth});
    backend.route({.routing = routing,
                   .input = {.x = x.view().first(count)},
                   .router = router.view(),
                   .spec = {.top_k = kTopK, .renormalise_epsilon = {}},
                   .live_tokens = live_tokens});
    backend.expert_up({.out = results.hidden.view(),
                       .x = x.view().first(count),
                       .routing = routing,
                       .gate = gate.view,
                       .up = up.view});
    backend.expert_down({.out = results.out.view(),
                         .hidden = results.hidden.view(),
                         .residual = x.view().first(count),
                         .routing = routing,
                         .down = down.view,
                         .expert_work = work.view()});
    return results;
  };
  const auto live_tokens = static_cast<int32_t>(live);
  const Results padded = run(tokens, &live_tokens);
  const Results exact = run(live, nullptr);
  const auto same = [](const Owned& all, const Owned& first) {
    return std::memcmp(all.view().data, first.view().data, first.view().bytes()) == 0;
  };
  EXPECT_TRUE(same(padded.routing.expert, exact.routing.expert));
  EXPECT_TRUE(same(padded.routing.weight, exact.routing.weight));
  EXPECT_TRUE(same(padded.routing.order, exact.routing.order));
  EXPECT_TRUE(same(padded.routing.start, exact.routing.start));
  EXPECT_TRUE(same(padded.hidden, exact.hidden));
  EXPECT_TRUE(same(padded.out, exact.out));
  for (int64_t i = live * kTopK; i < tokens * kTopK; ++i) {
    EXPECT_EQ(padded.routing.expert.at(i), -1);
    EXPECT_EQ(padded.routing.weight.at(i), 0);
  }
  for (int64_t i = live * kWidth; i < tokens * kWidth; ++i) {
    EXPECT_TRUE(std::isnan(padded.out.at(i))) << "was written";
  }
}

TEST(MoeBatch, LeavesPaddingOut) {
  expect_padding_left_out(1, 0, 8);
  expect_padding_left_out(2, 1, 32);  // fewer entries than experts
  expect_padding_left_out(24, 17, 9);
  expect_padding_left_out(70, 0, 9);
  expect_padding_left_out(5, 5, 9);
}

TEST(Route, GivesTiesToTheLowerExpertAndSurvivesNaN) {
  const Owned router = Owned::random(DType::kF32, {6, 4}, 1);
  Owned x(DType::kF32, {2, 4});
  for (int i = 0; i < 4; ++i) {
    x.set(i, 0.0f);  // every score one half
    x.set(4 + i, std::numeric_limits<float>::quiet_NaN());
  }
  const RoutingMemory routing(2, 3, 6);
  CpuBackend backend(1);
  backend.route({.routing = routing.view(),
                 .input = {.x = x.view()},
                 .router = router.weight(),
                 .spec = {.top_k = 3, .renormalise_epsilon = {}}});
  for (int i = 0; i < 6; ++i) EXPECT_EQ(routing.expert.at(i), i % 3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(routing.weight.at(i), 0.5);  // not renormalised
}

}  // namespace
}  // namespace switchyard
