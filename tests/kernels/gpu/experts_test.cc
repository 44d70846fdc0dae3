// expert_up and expert_down on the GPU: few and many tokens, experts without entries, all on one.
#include "tests/kernels/gpu/device.h"

namespace switchyard::gpu {
namespace {

struct Case {
  int64_t tokens, experts, top_k;
  int64_t width, features;  // H, F
  bool skewed = false;      // every token takes the experts 0 .. K-1
  int64_t padding = 0;      // of the tokens, the last so many
};

constexpr Case kCases[] = {
    {1, 8, 2, 256, 64},
    {1, 32, 4, 512, 320},
    {3, 7, 3, 72, 45},
    {4, 5, 5, 64, 34},
    {5, 8, 4, 96, 48},
    {2, 9, 8, 64, 40},
    {19, 32, 4, 256, 128},
    {33, 8, 2, 128, 96, true},
    {70, 9, 3, 128, 77},
    {64, 32, 4, 256, 192},
    {200, 8, 4, 128, 64},
    {300, 7, 3, 72, 45},
    {150, 16, 4, 64, 64, true},
    {1, 8, 2, 256, 64, false, 1},
    {4, 32, 4, 128, 96, false, 1},
    {24, 32, 4, 128, 96, false, 7},
    {200, 8, 4, 128, 64, false, 64},
    {256, 32, 4, 128, 64, false, 31},
    // A few dozen entries an expert, which are held in shared memory on Hopper.
    {256, 32, 4, 512, 320},
    {101, 7, 2, 1096, 130},
    {83, 40, 20, 128, 258},
    {96, 4, 2, 2048, 64},
    {110, 4, 1, 128, 64},
    {200, 70, 20, 192, 70}};

class GpuExperts : public Device {
 protected:
  struct HostRouting {
    std::vector<int32_t> expert, order, start;
    std::vector<float> weight;
  };
  static HostRouting routing_of(const Case& test) {
    HostRouting routing;
    std::vector<std::vector<int32_t>> entries(static_cast<size_t>(test.experts));
    for (int64_t i = 0; i < test.tokens * test.top_k; ++i) {
      const int64_t t = i / test.top_k, k = i % test.top_k;
      if (t >= test.tokens - test.padding) {
        routing.expert.push_back(-1);
        routing.weight.push_back(0);
        continue;
      }
      const int64_t e = test.skewed ? k : (t % 5 * 3 + k) % test.experts;
      routing.expert.push_back(static_cast<int32_t>(e));
      routing.weight.push_back(0.25F + 0.1F * static_cast<float>(k));
      entries[static_cast<size_t>(e)].push_back(static_cast<int32_t>(i));
    }
    routing.start.push_back(0);
    for (const auto& mine : entries) {
      routing.order.insert(routing.order.end(), mine.begin(), mine.end());
      routing.start.push_back(static_cast<int32_t>(routing.order.size()));
    }
    routing.order.resize(routing.expert.size());
    return routing;
  }
  Routing put(const HostRouting& host, const Case& test) {
    const Owned expert = Owned::ints(host.expert);
    Tensor choices = Device::put(expert);
    choices.rank = 2;
    choices.shape = {test.tokens, test.top_k};
    Tensor weights(const_cast<float*>(Device::put(host.weight)), DType::kF32,
                   {test.tokens, test.top_k});
    return {.expert = choices,
            .weight = weights,
            .order = Device::put(Owned::ints(host.order)),
            .expert_start = Device::put(Owned::ints(host.start))};
  }
  // After a route nothing is known of when the one before ended.
  void route_another() {
    const Routing routing = {.expert = poisoned(DType::kI32, {1, 1}),
                             .weight = poisoned(DType::kF32, {1, 1}),
                             .order = poisoned(DType::kI32, {1}),
                             .expert_start = poisoned(DType::kI32, {3})};
    backend().route({.routing = routing,
                     .input = {.x = Device::put(Owned::random(DType::kBf16, {1, 64}, 1))},
                     .router = pack(Owned::random(DType::kBf16, {2, 64}, 2), WeightFormat::kBf16),
                     .spec = {.top_k = 1, .renormalise_epsilon = {}}});
  }
  static std::vector<Owned> matrices(int64_t count, int64_t rows, int64_t cols, uint32_t seed) {
    std::vector<Owned> all;
    for (int64_t e = 0; e < count; ++e) {
      all.push_back(Owned::random(DType::kF32, {rows, cols}, seed + static_cast<uint32_t>(e),
                                  1 / std::sqrt(static_cast<double>(cols))));
    }
    return all;
  }
};

Doubles row_of(const Doubles& matrix, int64_t row, int64_t width) {
  return {matrix.begin() + row * width, matrix.begin() + (row + 1) * width};
}

TEST_F(GpuExperts, SendEachTokenThroughItsExperts) {
  for (const WeightFormat format : kFormats) {
    for (const Case& test : kCases) {
      if (too_large(test.tokens * test.top_k * test.width * test.features)) continue;
      SCOPED_TRACE(std::string(name_of(format)) + " " + std::to_string(test.tokens) + " tokens, " +
                   std::to_string(test.experts) + " experts");
      const HostRouting host = routing_of(test);
      const auto gate = matrices(test.experts, test.features, test.width, 10);
      const auto up = matrices(test.experts, test.features, test.width, 100);
      const auto down = matrices(test.experts, test.width, test.features, 1000);
      std::vector<Doubles> stored_gate, stored_up, stored_down;
      for (int64_t e = 0; e < test.experts; ++e) {
        stored_gate.push_back(as_stored(gate[static_cast<size_t>(e)], format));
        stored_up.push_back(as_stored(up[static_cast<size_t>(e)], format));
        stored_down.push_back(as_stored(down[static_cast<size_t>(e)], format));
      }
      const Owned x = Owned::random(DType::kBf16, {test.tokens, test.width}, 4);
      const Owned residual = Owned::random(DType::kBf16, {test.tokens, test.width}, 5);
      Doubles want_hidden, want = residual.values();
      const Doubles x_values = x.values();
      const int64_t live = test.tokens - test.padding;
      for (int64_t i = 0; i < live * test.top_k; ++i) {
        const auto e = static_cast<size_t>(host.expert[static_cast<size_t>(i)]);
        const Doubles hidden =
            reference::gated(row_of(x_values, i / test.top_k, test.width), stored_gate[e],
                             stored_up[e], static_cast<size_t>(test.width));
        want_hidden.insert(want_hidden.end(), hidden.begin(), hidden.end());
        const Doubles out =
            reference::product(hidden, stored_down[e], static_cast<size_t>(test.features));
        for (int64_t j = 0; j < test.width; ++j) {
          want[static_cast<size_t>(i / test.top_k * test.width + j)] +=
              host.weight[static_cast<size_t>(i)] * out[static_cast<size_t>(j)];
        }
      }
      const Routing routing = put(host, test);
      const ExpertWeight packed_gate = pack(gate, format), packed_up = pack(up, format),
                         packed_down = pack(down, format);
      const Tensor hidden = poisoned(DType::kBf16, {test.tokens * test.top_k, test.features});
      const Tensor input = Device::put(x);
      std::optional<Owned> first;
      for (int time = 0; time < 2; ++time) {
        const Tensor out = Device::put(residual);  // in place
        backend().expert_up(
            {.out = hidden, .x = input, .routing = routing, .gate = packed_gate, .up = packed_up});
        if (time == 1) route_another();
        backend().expert_down(
            {.out = out,
             .hidden = hidden,
             .residual = out,
             .routing = routing,
             .down = packed_down,
             .expert_work = poisoned(DType::kBf16, {test.tokens * test.top_k, test.width})});
        const Owned got = get(out);
        const Owned got_hidden = get(hidden);
        for (int64_t i = live * test.top_k * test.features; i < hidden.elements(); ++i) {
          ASSERT_TRUE(std::isnan(got_hidden.at(i))) << "padding was written";
        }
        if (live > 0)
          expect_close(get(hidden.first(live * test.top_k)), want_hidden, kBf16Tolerance);
        expect_close(got, want, kBf16Tolerance);
        if (first) {
          EXPECT_TRUE(first->same_bits(got));
        }
        first.emplace(got);
      }
    }
  }
}

}  // namespace
}  // namespace switchyard::gpu
