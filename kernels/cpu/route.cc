// The router: scores, the choice of top_k, and the choices sorted by expert.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/cpu/dot.h"
#include "kernels/cpu/moe.h"
#include "kernels/cpu/norm.h"

namespace switchyard::cpu {
namespace {

constexpr int kMaxExperts = 1024;
constexpr int kTokensAtOnce = 4;

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

// The top_k experts of one token by falling selection score; a NaN counts as the least score, so
// that the choice is always top_k different experts.
void choose(const RouteArgs& args, int64_t token, const float* score) {
  const RouterSpec& spec = args.spec;
  int32_t* expert = args.routing.expert.i32() + token * spec.top_k;
  float* weight = args.routing.weight.f32() + token * spec.top_k;
  const auto experts = static_cast<int>(args.router.rows);
  std::array<float, kMaxExperts> selection;
  for (int e = 0; e < experts; ++e) {
    const float value = args.bias.empty() ? score[e] : score[e] + args.bias.f32()[e];
    selection[e] = std::isnan(value) ? -std::numeric_limits<float>::infinity() : value;
  }
  // Insertion into the best so far; ids rise, so an equal score stays behind the lower id.
  int chosen = 0;
  for (int e = 0; e < experts; ++e) {
    if (chosen == spec.top_k && !(selection[e] > selection[expert[chosen - 1]])) continue;
    int place = chosen < spec.top_k ? chosen++ : chosen - 1;
    for (; place > 0 && selection[e] > selection[expert[place - 1]]; --place) {
      expert[place] = expert[place - 1];
    }
    expert[place] = e;
  }
  float total = 0;
  for (int k = 0; k < spec.top_k; ++k) {
    weight[k] = score[expert[k]];
    total += weight[k];
  }
  const float divisor = spec.renormalise_epsilon ? total + *spec.renormalise_epsilon : 1.0f;
  for (int k = 0; k < spec.top_k; ++k) weight[k] = weight[k] / divisor * spec.scale;
}

void choose_none(const RouteArgs& args, int64_t token) {
  const int64_t top_k = args.spec.top_k;
  std::fill_n(args.routing.expert.i32() + token * top_k, top_k, -1);
  std::fill_n(args.routing.weight.f32() + token * top_k, top_k, 0.0f);
}

// Counting sort. `start` serves as the cursors and ends up one expert ahead of what it should say.
void sort_by_expert(const Routing& routing) {
  const int32_t* expert = routing.expert.i32();
  const int64_t entries = routing.order.dim(0);
  const int64_t experts = routing.expert_start.dim(0) - 1;
  int32_t* start = routing.expert_start.i32();
  std::fill_n(start, experts + 1, 0);
  for (int64_t i = 0; i < entries; ++i) {
    if (expert[i] >= 0) ++start[expert[i] + 1];
  }
  for (int64_t e = 0; e < experts; ++e) start[e + 1] += start[e];
  for (int64_t i = 0; i < entries; ++i) {
    if (expert[i] >= 0) routing.order.i32()[start[expert[i]]++] = static_cast<int32_t>(i);
  }
  for (int64_t e = experts; e > 0; --e) start[e] = start[e - 1];
  start[0] = 0;
}

}  // namespace

void route(ThreadPool& pool, const RouteArgs& args) {
  const Weight& router = args.router;
  CHECK(router.rows <= kMaxExperts);
  norm_input(pool, args.input);
  const Tensor x = args.input.rows();
  const int64_t live = args.live_tokens != nullptr ? *args.live_tokens : x.dim(0);
  for (int64_t t = live; t < x.dim(0); ++t) choose_none(args, t);
  pool.parallel_for(live, kTokensAtOnce, [&](int64_t begin, int64_t end) {
    std::array<float, kTokensAtOnce * kMaxExperts> score;
    for (int64_t t = begin; t < end; t += kTokensAtOnce) {
      const int tokens = static_cast<int>(std::min<int64_t>(kTokensAtOnce, end - t));
      std::array<const float*, kTokensAtOnce> rows{};
      for (int i = 0; i < tokens; ++i) rows[i] = x.f32() + (t + i) * router.cols;
      dot_tile({.x = rows.data(),
                .rows = tokens,
                .weight = router.data,
                .format = router.format,
                .cols = router.cols,
                .outputs = static_cast<int>(router.rows),
                .out = score.data(),
                .out_stride = router.rows});
      for (int64_t i = 0; i < tokens * router.rows; ++i) score[i] = sigmoid(score[i]);
      for (int i = 0; i < tokens; ++i) choose(args, t + i, score.data() + i * router.rows);
    }
  });
  sort_by_expert(args.routing);
}

}  // namespace switchyard::cpu
