// Wide products and products of experts, called as the ops call them, against the reference: all
// formats and groups, every tile of tokens, odd sizes.
#include "kernels/cuda/wide.h"

#include <numeric>

#include "kernels/cuda/probe.h"
#include "tests/kernels/gpu/device.h"

namespace switchyard::gpu {
namespace {

using reference::expect_close;

struct Shape {
  int64_t rows, outputs, cols;
};

class Wide : public Device {
 protected:
  void SetUp() override {
    Device::SetUp();
    if (IsSkipped()) return;
    const cuda::Device device = *cuda::probe_device().device;
    CUDA_CHECK(cudaStreamCreateWithFlags(&on_.stream, cudaStreamNonBlocking));
    on_.multiprocessors = device.multiprocessors;
    on_.capability = device.capability;
    on_.shared_bytes = device.shared_bytes;
    on_.workspace_bytes = 32 << 20;
    on_.workspace = memory(on_.workspace_bytes);
  }
  void TearDown() override {
    if (on_.stream == nullptr) return;
    std::vector<uint32_t> counters(cuda::Stream::kCounters);
    backend().download(counters.data(), on_.counters(), cuda::Stream::kCounters * 4);
    for (const uint32_t counter : counters) ASSERT_EQ(counter, 0u) << "left by an op";
    CUDA_CHECK(cudaStreamDestroy(on_.stream));
  }
  void run(const cuda::WideProduct& product) {
    backend().synchronize();
    cuda::wide_product(on_, product);
    CUDA_CHECK(cudaStreamSynchronize(on_.stream));
  }
  void run(const cuda::WideExperts& product) {
    backend().synchronize();
    cuda::wide_experts(on_, product);
    CUDA_CHECK(cudaStreamSynchronize(on_.stream));
  }
  // The portable kernels too, where the device has others.
  std::vector<int> capabilities() const {
    return on_.capability == 90 ? std::vector{80, 90} : std::vector{on_.capability};
  }
  cuda::Stream on_;
};

const __nv_bfloat16* bf16(const Tensor& tensor) {
  return static_cast<const __nv_bfloat16*>(tensor.data);
}

std::string describe(WeightFormat format, const Shape& shape, int capability) {
  return std::string(name_of(format)) + " " + std::to_string(shape.rows) + " x " +
         std::to_string(shape.outputs) + " x " + std::to_string(shape.cols) + " on " +
         std::to_string(capability);
}

// Columns in groups of 128, 64 and 32, whole and not, some that break alignment.
constexpr Shape kShapes[] = {{1, 19, 77},     {17, 45, 320},  {64, 331, 64},   {65, 45, 45},
                             {200, 96, 100},  {33, 200, 128}, {64, 131, 2048}, {130, 256, 192},
                             {300, 384, 512}, {48, 16, 8},    {64, 640, 4096}, {140, 331, 1600},
                             {130, 131, 4096}};

TEST_F(Wide, MultipliesAndAddsTheResidualInPlace) {
  for (const int capability : capabilities()) {
    on_.capability = capability;
    for (const WeightFormat format : kFormats) {
      for (const Shape& shape : kShapes) {
        const auto [rows, outputs, cols] = shape;
        if (too_large(rows * outputs * cols)) continue;
        SCOPED_TRACE(describe(format, shape, capability));
        const Owned x = Owned::random(DType::kBf16, {rows, cols}, 1);
        const Owned w = Owned::random(DType::kBf16, {outputs, cols}, 2, 0.3);
        const Weight weight = pack(w, format);
        cuda::WideProduct product;
        product.input.x = put(x);
        Doubles want = reference::product(x.values(), as_stored(w, format), cols);

        const Tensor out = poisoned(DType::kBf16, {rows, outputs});
        product.matrix[0] = {&weight, out.data, outputs};
        run(product);
        const Owned first = get(out);
        expect_close(first, want, kBf16Tolerance);
        run(product);
        EXPECT_TRUE(get(out).same_bits(first));

        const Owned residual = Owned::random(DType::kBf16, {rows, outputs}, 3, 4);
        const Tensor sum = put(residual);
        product.matrix[0].out = sum.data;
        product.residual = bf16(sum);
        run(product);
        for (size_t i = 0; i < want.size(); ++i) want[i] += residual.at(static_cast<int64_t>(i));
        expect_close(get(sum), want, kBf16Tolerance);
      }
    }
  }
}

TEST_F(Wide, WritesF32RowsThatAreApart) {
  for (const int capability : capabilities()) {
    on_.capability = capability;
    for (const Shape& shape : {Shape{17, 45, 77}, {70, 331, 128}, {140, 128, 2048}}) {
      const auto [rows, outputs, cols] = shape;
      SCOPED_TRACE(describe(WeightFormat::kInt8, shape, capability));
      const int64_t stride = outputs + 3;
      const Owned x = Owned::random(DType::kBf16, {rows, cols}, 1);
      const Owned w = Owned::random(DType::kBf16, {outputs, cols}, 2, 0.3);
      const Tensor out = poisoned(DType::kF32, {rows, stride});
      const Weight weight = pack(w, WeightFormat::kBf16);
      run(cuda::WideProduct{.input = {.x = put(x)},
                            .matrix = {{&weight, out.data, stride}},
                            .out_type = DType::kF32});
      const Owned all = get(out);
      Owned got(DType::kF32, {rows, outputs});
      for (int64_t i = 0; i < rows * stride; ++i) {
        if (i % stride < outputs) {
          got.set(i / stride * outputs + i % stride, static_cast<float>(all.at(i)));
        } else {
          EXPECT_TRUE(std::isnan(all.at(i)));
        }
      }
      const Doubles want = reference::product(x.values(), as_stored(w, WeightFormat::kBf16), cols);
      expect_close(got, want, 1e-5);
    }
  }
}

TEST_F(Wide, GatesOneProductWithAnother) {
  for (const int capability : capabilities()) {
    on_.capability = capability;
    for (const WeightFormat format : kFormats) {
      for (const Shape& shape : kShapes) {
        const auto [rows, outputs, cols] = shape;
        if (too_large(rows * outputs * cols)) continue;
        SCOPED_TRACE(describe(format, shape, capability));
        const double spread = 1 / std::sqrt(static_cast<double>(cols));
        const Owned x = Owned::random(DType::kBf16, {rows, cols}, 1);
        const Owned gate = Owned::random(DType::kBf16, {outputs, cols}, 2, spread);
        const Owned up = Owned::random(DType::kBf16, {outputs, cols}, 3, spread);
        const Tensor out = poisoned(DType::kBf16, {rows, outputs});
        const Weight packed_gate = pack(gate, format), packed_up = pack(up, format);
        run(cuda::WideProduct{.input = {.x = put(x)},
                              .matrix = {{&packed_gate, out.data, outputs}, {&packed_up}},
                              .gated = true});
        expect_close(
            get(out),
            reference::gated(x.values(), as_stored(gate, format), as_stored(up, format), cols),
            kBf16Tolerance);
      }
    }
  }
}

// Three with odd numbers of rows, two of them to one tensor; f32 rows that are apart.
TEST_F(Wide, MultipliesSeveralMatrices) {
  constexpr int64_t kGap = 3;
  constexpr int64_t kOutputs[] = {301, 45, 130};
  for (const int capability : capabilities()) {
    on_.capability = capability;
    for (const WeightFormat format : kFormats) {
      for (const auto& [rows, cols] : {std::pair{64, 77}, {70, 32}, {20, 640}, {150, 256}}) {
        SCOPED_TRACE(describe(format, {rows, 476, cols}, capability));
        const Owned x = Owned::random(DType::kBf16, {rows, cols}, 1);
        const int64_t stride = kOutputs[1] + kOutputs[2] + kGap;
        const Tensor first = poisoned(DType::kF32, {rows, kOutputs[0]});
        const Tensor both = poisoned(DType::kF32, {rows, stride});
        std::vector<Owned> source;
        std::vector<Weight> weight;
        for (uint32_t m = 0; m < 3; ++m) {
          source.push_back(Owned::random(DType::kBf16, {kOutputs[m], cols}, 2 + m, 0.3));
          weight.push_back(pack(source[m], format));
        }
        run(cuda::WideProduct{.input = {.x = put(x)},
                              .matrix = {{&weight[0], first.data, kOutputs[0]},
                                         {&weight[1], both.data, stride},
                                         {&weight[2], both.f32() + kOutputs[1], stride}},
                              .out_type = DType::kF32});
        const auto want = [&](uint32_t m) {
          return reference::product(x.values(), as_stored(source[m], format),
                                    static_cast<size_t>(cols));
        };
        expect_close(get(first), want(0), kBf16Tolerance);
        const Owned pair = get(both);
        for (const auto& [m, from] : {std::pair{1, int64_t{0}}, {2, kOutputs[1]}}) {
          Owned part(DType::kF32, {rows, kOutputs[m]});
          for (int64_t i = 0; i < rows * kOutputs[m]; ++i) {
            const int64_t at = i / kOutputs[m] * stride + from + i % kOutputs[m];
            part.set(i, static_cast<float>(pair.at(at)));
          }
          expect_close(part, want(static_cast<uint32_t>(m)), kBf16Tolerance);
        }
        for (int64_t i = 0; i < rows * stride; ++i) {
          EXPECT_EQ(std::isnan(pair.at(i)), i % stride >= stride - kGap);
        }
      }
    }
  }
}

// How tokens choose: evenly, mostly one expert, or the last one alone.
enum class Spread { kEven, kSkewed, kOne };

struct ExpertCase {
  int64_t tokens, top_k, experts;
  Spread spread;
};

class WideOfExperts : public Wide {
 protected:
  // Sorted on the host; the experts of a token need not be different here.
  Routing routing(const ExpertCase& test, std::vector<int32_t>& chosen) {
    const auto entries = static_cast<size_t>(test.tokens * test.top_k);
    chosen.resize(entries);
    for (size_t i = 0; i < entries; ++i) {
      const auto spread_out = static_cast<int32_t>((i * 7 + i / 5) % test.experts);
      chosen[i] = test.spread == Spread::kOne      ? static_cast<int32_t>(test.experts - 1)
                  : test.spread == Spread::kEven   ? spread_out
                  : i % 4 != 0 && test.experts > 1 ? 1
                                                   : spread_out;
    }
    std::vector<int32_t> order(entries), start(test.experts + 1);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return chosen[a] < chosen[b]; });
    for (int64_t e = 0; e <= test.experts; ++e) {
      start[e] = static_cast<int32_t>(
          std::count_if(chosen.begin(), chosen.end(), [&](int32_t at) { return at < e; }));
    }
    return {.expert = Tensor(nullptr, DType::kI32, {test.tokens, test.top_k}),
            .weight = {},
            .order = put(Owned::ints(order)),
            .expert_start = put(Owned::ints(start))};
  }
  void check(const ExpertCase& test, WeightFormat format, int64_t outputs, int64_t cols) {
    std::vector<int32_t> chosen;
    const Routing routes = routing(test, chosen);
    const int64_t entries = test.tokens * test.top_k;
    std::vector<Owned> gate, up;
    for (int64_t e = 0; e < test.experts; ++e) {
      const auto seed = static_cast<uint32_t>(10 + e);
      const double spread = 1 / std::sqrt(static_cast<double>(cols));
      gate.push_back(Owned::random(DType::kBf16, {outputs, cols}, seed, spread));
      up.push_back(Owned::random(DType::kBf16, {outputs, cols}, 1000 + seed, spread));
    }
    for (const bool gated : {true, false}) {
      SCOPED_TRACE(gated ? "gated, a row for each token" : "plain, a row for each entry");
      const Owned x = Owned::random(DType::kBf16, {gated ? test.tokens : entries, cols}, 4);
      const Tensor out = poisoned(DType::kBf16, {entries, outputs});
      const Tensor device_x = put(x);
      cuda::WideExperts product{.x = bf16(device_x),
                                .per_entry = !gated,
                                .routing = routes,
                                .weight = pack(gate, format),
                                .out = static_cast<__nv_bfloat16*>(out.data)};
      if (gated) product.up = pack(up, format);
      run(product);
      const Doubles all = x.values();
      std::vector<Doubles> stored, stored_up;
      for (int64_t e = 0; e < test.experts; ++e) {
        stored.push_back(as_stored(gate[e], format));
        stored_up.push_back(as_stored(up[e], format));
      }
      Doubles want;
      for (int64_t i = 0; i < entries; ++i) {
        const int64_t source = gated ? i / test.top_k : i;
        const Doubles row(all.begin() + source * cols, all.begin() + (source + 1) * cols);
        const Doubles& w = stored[chosen[i]];
        const Doubles one = gated ? reference::gated(row, w, stored_up[chosen[i]], cols)
                                  : reference::product(row, w, cols);
        want.insert(want.end(), one.begin(), one.end());
      }
      expect_close(get(out), want, kBf16Tolerance);
    }
  }
};

TEST_F(WideOfExperts, MultipliesWhatChoseThem) {
  const ExpertCase cases[] = {{1, 1, 1, Spread::kEven},     {9, 4, 32, Spread::kEven},
                              {40, 2, 5, Spread::kSkewed},  {33, 4, 3, Spread::kOne},
                              {90, 4, 40, Spread::kSkewed}, {130, 2, 3, Spread::kEven},
                              {300, 2, 2, Spread::kSkewed}};
  for (const int capability : capabilities()) {
    on_.capability = capability;
    for (const ExpertCase& test : cases) {
      if (too_large(test.tokens * test.top_k * 48 * 128)) continue;
      for (const WeightFormat format : kFormats) {
        SCOPED_TRACE(std::string(name_of(format)) + ", " + std::to_string(test.tokens) +
                     " tokens, " + std::to_string(test.experts) + " experts on " +
                     std::to_string(capability));
        check(test, format, 45, 77);
        check(test, format, 48, 128);
      }
    }
    if (too_large(280 * 200 * 320)) continue;
    check({70, 4, 7, Spread::kSkewed}, WeightFormat::kInt4, 200, 320);
  }
}

}  // namespace
}  // namespace switchyard::gpu
