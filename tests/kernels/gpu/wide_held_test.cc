// Products that clusters of blocks compute, against the reference: all formats, one to eight blocks
// that share the columns, clusters with one unit of rows and with several, one tile of tokens and
// several.
#include "kernels/cuda/wide_held.h"

#include "kernels/cuda/probe.h"
#include "tests/kernels/gpu/device.h"

namespace switchyard::gpu {
namespace {

using reference::expect_close;

class Held : public Device {
 protected:
  void SetUp() override {
    Device::SetUp();
    if (IsSkipped()) return;
    const cuda::Device device = *cuda::probe_device().device;
    if (device.capability != 90) GTEST_SKIP() << "written for sm_90a alone";
    CUDA_CHECK(cudaStreamCreateWithFlags(&on_.stream, cudaStreamNonBlocking));
    on_.capability = device.capability;
    on_.shared_bytes = device.shared_bytes;
    multiprocessors_ = device.multiprocessors;
  }
  void TearDown() override {
    if (on_.stream != nullptr) CUDA_CHECK(cudaStreamDestroy(on_.stream));
  }
  void run(const cuda::WideProduct& product) {
    backend().synchronize();
    ASSERT_TRUE(cuda::held_product(on_, product));
    CUDA_CHECK(cudaStreamSynchronize(on_.stream));
  }
  // By how many multiprocessors there are it is chosen how many blocks share the columns. A few of
  // them would take more rows than a cluster's in more rounds than pay.
  [[nodiscard]] std::vector<int> multiprocessors(int64_t rows) const {
    if (rows > 64) return {20, multiprocessors_};
    return {1, 6, 20, multiprocessors_};
  }

  cuda::Stream on_;
  int multiprocessors_ = 0;
};

struct Shape {
  int64_t rows, outputs, cols;
};
constexpr Shape kShapes[] = {{17, 19, 72},   {64, 300, 64},   {33, 131, 2048},
                             {32, 640, 192}, {1, 128, 1032},  {50, 257, 512},
                             {40, 70, 520},  {64, 1024, 256}, {20, 384, 2112}};
// More rows than a cluster holds.
constexpr Shape kTallShapes[] = {{65, 300, 64},   {150, 40, 264},  {129, 131, 1032},
                                 {200, 257, 512}, {512, 128, 192}, {200, 1400, 64}};

// Of formats with groups of 32, and under a slow tool, some are left out.
bool tested(WeightFormat format, const Shape& shape) {
  return group_for(format, shape.cols) != 32 && !too_large(shape.rows * shape.outputs * shape.cols);
}

std::string describe(WeightFormat format, const Shape& shape, int multiprocessors) {
  return std::string(name_of(format)) + " " + std::to_string(shape.rows) + " x " +
         std::to_string(shape.outputs) + " x " + std::to_string(shape.cols) + " on " +
         std::to_string(multiprocessors);
}

// Some rows of x, in an order of their own.
struct Gathered {
  Gathered(const Owned& x, int64_t count) {
    const int64_t all = x.view().dim(0), cols = x.view().dim(1);
    for (int64_t i = 0; i < count; ++i) {
      rows.push_back(static_cast<int32_t>(i * 5 % all));
      for (int64_t c = 0; c < cols; ++c) values.push_back(x.at(rows.back() * cols + c));
    }
  }
  std::vector<int32_t> rows;
  Doubles values;
};

TEST_F(Held, MultipliesAndAddsTheResidualInPlace) {
  for (const WeightFormat format : kFormats) {
    for (const Shape& shape : kShapes) {
      if (!tested(format, shape)) continue;
      const auto [rows, outputs, cols] = shape;
      const Owned x = Owned::random(DType::kBf16, {rows, cols}, 1);
      const Owned w = Owned::random(DType::kBf16, {outputs, cols}, 2, 0.3);
      const Owned residual = Owned::random(DType::kBf16, {rows, outputs}, 3, 4);
      const NormedInput input = {.x = put(x)};
      const Weight weight = pack(w, format);
      Doubles want = reference::product(x.values(), as_stored(w, format), cols);
      for (const int multiprocessors : multiprocessors(rows)) {
        on_.multiprocessors = multiprocessors;
        SCOPED_TRACE(describe(format, shape, multiprocessors));
        const Tensor out = poisoned(DType::kBf16, {rows, outputs});
        run({.input = input, .matrix = {{&weight, out.data, outputs}}});
        const Owned first = get(out);
        expect_close(first, want, kBf16Tolerance);
        run({.input = input, .matrix = {{&weight, out.data, outputs}}});
        EXPECT_TRUE(get(out).same_bits(first));

        const Tensor sum = put(residual);
        run({.input = input,
             .matrix = {{&weight, sum.data, outputs}},
             .residual = static_cast<const __nv_bfloat16*>(sum.data)});
        Doubles more = want;
        for (size_t i = 0; i < want.size(); ++i) more[i] += residual.at(static_cast<int64_t>(i));
        expect_close(get(sum), more, kBf16Tolerance);
      }
    }
  }
}

TEST_F(Held, NormsTheRowsAskedForAndGates) {
  for (const WeightFormat format : kFormats) {
    for (const Shape& shape : kShapes) {
      if (!tested(format, shape)) continue;
      const auto [rows, outputs, cols] = shape;
      const double spread = 1 / std::sqrt(static_cast<double>(cols));
      const Owned x = Owned::random(DType::kBf16, {rows + 3, cols}, 1, 2);
      const Owned gain = Owned::random(DType::kF32, {cols}, 2);
      const Owned gate = Owned::random(DType::kBf16, {outputs, cols}, 3, spread);
      const Owned up = Owned::random(DType::kBf16, {outputs, cols}, 4, spread);
      const Gathered from(x, rows);
      const NormedInput input = {.x = put(x),
                                 .gain = put(gain),
                                 .epsilon = 1e-5F,
                                 .normed = poisoned(DType::kBf16, {rows, cols}),
                                 .gather = put(from.rows)};
      const Weight packed_gate = pack(gate, format), packed_up = pack(up, format);
      const Doubles want = reference::gated(reference::norm(from.values, gain.values(), 1e-5),
                                            as_stored(gate, format), as_stored(up, format), cols);
      for (const int multiprocessors : multiprocessors(rows)) {
        on_.multiprocessors = multiprocessors;
        SCOPED_TRACE(describe(format, shape, multiprocessors));
        const Tensor out = poisoned(DType::kBf16, {rows, outputs});
        const auto product = [&] {
          run({.input = input,
               .matrix = {{&packed_gate, out.data, outputs}, {&packed_up}},
               .gated = true});
        };
        product();
        const Owned first = get(out);
        expect_close(first, want, kBf16Tolerance);
        product();
        EXPECT_TRUE(get(out).same_bits(first));
      }
    }
  }
}

TEST_F(Held, SharesRowsOutAmongClusters) {
  for (const WeightFormat format : kFormats) {
    for (const Shape& shape : kTallShapes) {
      if (!tested(format, shape)) continue;
      const auto [rows, outputs, cols] = shape;
      const double spread = 1 / std::sqrt(static_cast<double>(cols));
      const Owned x = Owned::random(DType::kBf16, {rows + 3, cols}, 1, 2);
      const Owned gain = Owned::random(DType::kF32, {cols}, 2);
      const Owned w = Owned::random(DType::kBf16, {outputs, cols}, 3, spread);
      const Owned residual = Owned::random(DType::kBf16, {rows, outputs}, 4);
      const Gathered from(x, rows);
      const NormedInput input = {.x = put(x),
                                 .gain = put(gain),
                                 .epsilon = 1e-5F,
                                 .normed = poisoned(DType::kBf16, {rows, cols}),
                                 .gather = put(from.rows)};
      const Weight weight = pack(w, format);
      Doubles want = reference::product(reference::norm(from.values, gain.values(), 1e-5),
                                        as_stored(w, format), cols);
      for (size_t i = 0; i < want.size(); ++i) want[i] += residual.at(static_cast<int64_t>(i));
      for (const int multiprocessors : multiprocessors(rows)) {
        on_.multiprocessors = multiprocessors;
        SCOPED_TRACE(describe(format, shape, multiprocessors));
        const auto product = [&] {
          const Tensor sum = put(residual);
          run({.input = input,
               .matrix = {{&weight, sum.data, outputs}},
               .residual = static_cast<const __nv_bfloat16*>(sum.data)});
          return get(sum);
        };
        const Owned first = product();
        expect_close(first, want, kBf16Tolerance);
        EXPECT_TRUE(product().same_bits(first));
      }
    }
  }
}

// Of three matrices with odd numbers of rows, two to one tensor; f32 rows that are apart.
TEST_F(Held, MultipliesSeveralMatrices) {
  constexpr int64_t kCols = 640, kGap = 3;
  const int64_t outputs[] = {301, 45, 130};
  for (const WeightFormat format : kFormats) {
    for (const int64_t rows : {23, 64, 140}) {
      const Owned x = Owned::random(DType::kBf16, {rows, kCols}, 1);
      const NormedInput input = {.x = put(x)};
      std::vector<Owned> source;
      std::vector<Weight> weight;
      for (uint32_t m = 0; m < 3; ++m) {
        source.push_back(Owned::random(DType::kBf16, {outputs[m], kCols}, 2 + m, 0.3));
        weight.push_back(pack(source[m], format));
      }
      for (const int multiprocessors : multiprocessors(rows)) {
        on_.multiprocessors = multiprocessors;
        SCOPED_TRACE(describe(format, {rows, 476, kCols}, multiprocessors));
        const int64_t stride = outputs[1] + outputs[2] + kGap;
        const Tensor first = poisoned(DType::kF32, {rows, outputs[0]});
        const Tensor both = poisoned(DType::kF32, {rows, stride});
        run({.input = input,
             .matrix = {{&weight[0], first.data, outputs[0]},
                        {&weight[1], both.data, stride},
                        {&weight[2], both.f32() + outputs[1], stride}},
             .out_type = DType::kF32});
        const Owned pair = get(both);
        const auto part = [&](int64_t from, int64_t count) {
          Owned some(DType::kF32, {rows, count});
          for (int64_t i = 0; i < rows * count; ++i) {
            some.set(i, static_cast<float>(pair.at(i / count * stride + from + i % count)));
          }
          return some;
        };
        const auto want = [&](uint32_t m) {
          return reference::product(x.values(), as_stored(source[m], format), kCols);
        };
        expect_close(get(first), want(0), kBf16Tolerance);
        expect_close(part(0, outputs[1]), want(1), kBf16Tolerance);
        expect_close(part(outputs[1], outputs[2]), want(2), kBf16Tolerance);
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t g = 1; g <= kGap; ++g)
            EXPECT_TRUE(std::isnan(pair.at((r + 1) * stride - g)));
        }
      }
    }
  }
}

TEST_F(Held, LeavesWhatDoesNotSuit) {
  on_.multiprocessors = multiprocessors_;
  const auto takes = [&](int64_t rows, int64_t cols, WeightFormat format, bool gated = false,
                         int64_t outputs = 16) {
    const NormedInput input = {.x = put(Owned::random(DType::kBf16, {rows, cols}, 2))};
    const Tensor out = poisoned(DType::kBf16, {rows, outputs});
    const Weight weight = pack(Owned::random(DType::kBf16, {outputs, cols}, 1), format);
    backend().synchronize();  // another stream made them
    cuda::WideProduct product = {
        .input = input, .matrix = {{&weight, out.data, outputs}}, .gated = gated};
    if (gated) product.matrix[1].weight = &weight;
    const bool taken = cuda::held_product(on_, product);
    CUDA_CHECK(cudaStreamSynchronize(on_.stream));
    const Owned after = get(out);
    for (int64_t i = 0; i < rows * outputs; ++i) EXPECT_EQ(std::isnan(after.at(i)), !taken);
    return taken;
  };
  EXPECT_TRUE(takes(64, 64, WeightFormat::kInt4));
  EXPECT_TRUE(takes(512, 64, WeightFormat::kInt4));
  EXPECT_FALSE(takes(513, 64, WeightFormat::kInt4)) << "too many rows";
  EXPECT_TRUE(takes(64, 4608, WeightFormat::kInt4, true));
  EXPECT_FALSE(takes(65, 64, WeightFormat::kInt4, true)) << "gated, and more rows than a cluster's";
  EXPECT_TRUE(takes(64, 7168, WeightFormat::kInt4));
  EXPECT_FALSE(takes(65, 7168, WeightFormat::kInt4)) << "such, and columns for eight blocks";
  EXPECT_FALSE(takes(64, 68, WeightFormat::kBf16)) << "rows that are not aligned";
  EXPECT_FALSE(takes(64, 32, WeightFormat::kInt4)) << "groups of 32";
  EXPECT_FALSE(takes(64, 1 << 15, WeightFormat::kInt4)) << "too many columns";
  on_.multiprocessors = 1;
  EXPECT_TRUE(takes(64, 64, WeightFormat::kInt8, false, 900));
  EXPECT_TRUE(takes(65, 64, WeightFormat::kInt8, false, 600));
  EXPECT_FALSE(takes(65, 64, WeightFormat::kInt8, false, 900)) << "many rounds";
  EXPECT_FALSE(takes(65, 64, WeightFormat::kFp8, false, 600)) << "many for fp8";
  on_.capability = 80;
  EXPECT_FALSE(takes(64, 64, WeightFormat::kInt4)) << "another device";
}

}  // namespace
}  // namespace switchyard::gpu
