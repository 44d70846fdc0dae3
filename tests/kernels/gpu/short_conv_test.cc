// The whole short_conv op on the GPU: few tokens in one kernel, many in two; state between steps.
#include "tests/kernels/gpu/device.h"

namespace switchyard::gpu {
namespace {

using reference::Batch;

struct Case {
  int64_t width, taps;
};
constexpr Case kCases[] = {{64, 3}, {72, 3}, {256, 4}, {48, 2}, {2048, 3}};

struct Layer {
  explicit Layer(const Case& test)
      : width(test.width),
        gain(Owned::random(DType::kF32, {width}, 1)),
        in_proj(Owned::random(
            DType::kF32, {3 * width, width}, 2, 1 / std::sqrt(static_cast<double>(width)))),
        taps(Owned::random(DType::kF32, {width, test.taps}, 3)) {}
  int64_t width;
  Owned gain, in_proj, taps;
};

// A whole sequence [tokens, width] at once; `columns` gets u = B * x.
Doubles reference_layer(const Layer& layer,
                        WeightFormat format,
                        const Doubles& sequence,
                        Doubles& columns) {
  const auto width = static_cast<size_t>(layer.width);
  const auto taps = static_cast<size_t>(layer.taps.view().dim(1));
  const Doubles x = reference::norm(sequence, layer.gain.values(), 1e-5);
  const Doubles projected = reference::product(x, as_stored(layer.in_proj, format), width);
  const size_t tokens = x.size() / width;
  columns.assign(x.size(), 0);
  Doubles out(x.size());
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t c = 0; c < width; ++c) {
      const double* parts = projected.data() + t * 3 * width;
      columns[t * width + c] = parts[c] * parts[2 * width + c];
      for (size_t k = 0; k < taps; ++k) {
        if (t + k + 1 < taps) continue;
        out[t * width + c] += layer.taps.at(static_cast<int64_t>(c * taps + k)) *
                              columns[(t + k + 1 - taps) * width + c];
      }
      out[t * width + c] *= parts[width + c];
    }
  }
  return out;
}

class GpuShortConv : public Device {};

// Sequences of these lengths, in steps that bring each of them these many tokens.
TEST_F(GpuShortConv, MatchesTheReferenceOverSteps) {
  const std::vector<int32_t> lengths = {45, 3, 46, 42};
  const std::vector<std::vector<int32_t>> steps = {
      {1, 1, 1, 0}, {1, 2, 2, 1}, {2, 0, 1, 1}, {40, 0, 39, 39}, {1, 0, 3, 1}};
  for (const Case& test : kCases) {
    for (const WeightFormat format : {WeightFormat::kBf16, WeightFormat::kInt4}) {
      SCOPED_TRACE(std::to_string(test.width) + " " + name_of(format));
      const Layer layer(test);
      const Weight in_proj = pack(layer.in_proj, format);
      const Tensor gain = put(layer.gain), taps = put(layer.taps);
      const Tensor state = poisoned(DType::kF32, {6, test.taps - 1, test.width});
      std::vector<Owned> sequence;
      std::vector<Doubles> want, columns(lengths.size());
      for (size_t r = 0; r < lengths.size(); ++r) {
        sequence.push_back(
            Owned::random(DType::kBf16, {lengths[r], test.width}, 20 + static_cast<uint32_t>(r)));
        want.push_back(reference_layer(layer, format, sequence[r].values(), columns[r]));
      }
      std::vector<int32_t> past(lengths.size(), 0);
      for (const std::vector<int32_t>& step : steps) {
        std::vector<int32_t> tokens, begins, slots;
        Doubles x, expected;
        for (size_t r = 0; r < lengths.size(); ++r) {
          if (step[r] == 0) continue;
          tokens.push_back(step[r]);
          begins.push_back(past[r]);
          slots.push_back(static_cast<int32_t>(r) + 1);
          for (int64_t i = past[r] * test.width; i < (past[r] + step[r]) * test.width; ++i) {
            x.push_back(sequence[r].at(i));
            expected.push_back(want[r][static_cast<size_t>(i)]);
          }
          past[r] += step[r];
        }
        const Batch host({.tokens = tokens, .past = begins}, 8);
        RaggedBatch batch = host.view();
        batch.state_slot = slots.data();
        batch = put(batch);
        const int64_t count = batch.num_tokens;
        Owned input(DType::kBf16, {count, test.width});
        for (size_t i = 0; i < x.size(); ++i) {
          input.set(static_cast<int64_t>(i), static_cast<float>(x[i]));
        }
        const Tensor out = poisoned(DType::kBf16, {count, test.width});
        backend().short_conv({.out = out,
                              .input = {.x = Device::put(input),
                                        .gain = gain,
                                        .epsilon = 1e-5F,
                                        .normed = poisoned(DType::kBf16, {count, test.width})},
                              .in_proj = in_proj,
                              .taps = taps,
                              .state = state,
                              .projected_work = poisoned(DType::kBf16, {count, 3 * test.width})},
                             batch);
        expect_close(get(out), expected, 2 * kBf16Tolerance);
      }
      const Owned left = get(state);
      for (size_t r = 0; r < lengths.size(); ++r) {
        for (int64_t k = 0; k + 1 < test.taps; ++k) {
          for (int64_t c = 0; c < test.width; ++c) {
            const int64_t t = past[r] - (test.taps - 1) + k;
            const double u = t < 0 ? 0 : columns[r][static_cast<size_t>(t * test.width + c)];
            ASSERT_NEAR(
                left.at(((static_cast<int64_t>(r) + 1) * (test.taps - 1) + k) * test.width + c), u,
                0.03 * (1 + std::abs(u)));
          }
        }
      }
      for (int64_t i = 5 * (test.taps - 1) * test.width; i < left.view().elements(); ++i) {
        ASSERT_TRUE(std::isnan(left.at(i))) << "wrote a slot that is no row's";
      }
    }
  }
}

}  // namespace
}  // namespace switchyard::gpu
