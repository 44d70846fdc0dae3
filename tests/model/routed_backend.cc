#include "tests/model/routed_backend.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/kernels/reference.h"

namespace switchyard {
namespace {

double element(const Weight& matrix, int64_t row, int64_t col) {
  const int64_t i = row * matrix.cols + col;
  switch (matrix.format) {
    case WeightFormat::kF32:
      return static_cast<const float*>(matrix.data)[i];
    case WeightFormat::kF16:
      return reference::widen_bits(static_cast<const uint16_t*>(matrix.data)[i], DType::kF16);
    case WeightFormat::kBf16:
      return reference::widen_bits(static_cast<const uint16_t*>(matrix.data)[i], DType::kBf16);
    default:
      CHECK(false);
  }
}

// Of one token: sigmoid(x router^T) of each expert.
std::vector<double> scores(const float* x, const Weight& router) {
  std::vector<double> all;
  for (int64_t e = 0; e < router.rows; ++e) {
    double dot = 0;
    for (int64_t i = 0; i < router.cols; ++i) dot += x[i] * element(router, e, i);
    all.push_back(1 / (1 + std::exp(-dot)));
  }
  return all;
}

RoutedBackend::Choice judge(const std::vector<double>& selection, const std::vector<int>& chosen) {
  std::vector<double> falling = selection;
  std::sort(falling.begin(), falling.end(), std::greater<>());
  double worst_in = INFINITY, best_out = -INFINITY;
  for (size_t e = 0; e < selection.size(); ++e) {
    const bool in = std::binary_search(chosen.begin(), chosen.end(), static_cast<int>(e));
    if (in) worst_in = std::min(worst_in, selection[e]);
    if (!in) best_out = std::max(best_out, selection[e]);
  }
  const size_t k = chosen.size();
  return {.loss = static_cast<float>(std::max(0.0, best_out - worst_in)),
          .margin = k < falling.size() ? static_cast<float>(falling[k - 1] - falling[k]) : 1};
}

void sort_by_expert(const Routing& routing) {
  const auto entries = static_cast<int32_t>(routing.order.dim(0));
  const int32_t* expert = routing.expert.i32();
  int32_t* order = routing.order.i32();
  std::iota(order, order + entries, 0);
  std::stable_sort(order, order + entries,
                   [&](int32_t a, int32_t b) { return expert[a] < expert[b]; });
  for (int64_t e = 0; e < routing.expert_start.dim(0); ++e) {
    routing.expert_start.i32()[e] = static_cast<int32_t>(
        std::count_if(expert, expert + entries, [&](int32_t chosen) { return chosen < e; }));
  }
}

}  // namespace

void RoutedBackend::choose(std::vector<Choices> layers) {
  layers_ = std::move(layers);
  made_.clear();
}

void RoutedBackend::do_route(const RouteArgs& args) {
  inner().route(args);  // and the normed rows
  const size_t layer = made_.size();
  CHECK(layer < layers_.size());
  const Choices& told = layers_[layer];
  const Tensor& x = args.input.rows();
  CHECK(x.dim(0) == static_cast<int64_t>(told.size()));
  std::vector<Choice>& made = made_.emplace_back();
  const auto top_k = static_cast<size_t>(args.spec.top_k);
  for (size_t t = 0; t < told.size(); ++t) {
    CHECK(told[t].size() == top_k);
    const std::vector<double> score = scores(x.f32() + t * args.router.cols, args.router);
    std::vector<double> selection = score;
    for (size_t e = 0; e < selection.size() && !args.bias.empty(); ++e) {
      selection[e] += args.bias.f32()[e];
    }
    made.push_back(judge(selection, told[t]));
    double total = 0;
    for (const int expert : told[t]) total += score[static_cast<size_t>(expert)];
    const double divisor =
        args.spec.renormalise_epsilon ? total + *args.spec.renormalise_epsilon : 1.0;
    for (size_t k = 0; k < top_k; ++k) {
      args.routing.expert.i32()[t * top_k + k] = told[t][k];
      args.routing.weight.f32()[t * top_k + k] =
          static_cast<float>(score[static_cast<size_t>(told[t][k])] / divisor * args.spec.scale);
    }
  }
  sort_by_expert(args.routing);
}

}  // namespace switchyard
