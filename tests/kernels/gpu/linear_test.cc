// linear and gated_linear on the GPU, in every format, from one row to the sizes where tiles begin.
#include "tests/kernels/gpu/device.h"

namespace switchyard::gpu {
namespace {

struct Shape {
  int64_t rows, outputs, cols;
};
constexpr Shape kShapes[] = {{1, 1, 1},       {1, 64, 256},   {2, 33, 77},    {7, 19, 45},
                             {8, 331, 72},    {9, 70, 90},    {17, 100, 34},  {31, 48, 320},
                             {1, 2048, 2048}, {32, 257, 128}, {3, 160, 7168}, {16, 130, 1792}};

class GpuLinear : public Device {
 protected:
  template <typename Check>
  void for_each_case(const Check& check) {
    for (const WeightFormat format : kFormats) {
      for (const Shape& shape : kShapes) {
        SCOPED_TRACE(std::string(name_of(format)) + " " + std::to_string(shape.rows) + "x" +
                     std::to_string(shape.outputs) + "x" + std::to_string(shape.cols));
        check(format, shape);
      }
    }
  }
};

TEST_F(GpuLinear, MatchesTheReference) {
  for_each_case([&](WeightFormat format, const Shape& shape) {
    const Owned x = Owned::random(DType::kBf16, {shape.rows, shape.cols}, 1);
    const Owned w = Owned::random(DType::kF32, {shape.outputs, shape.cols}, 2);
    const Doubles want =
        reference::product(x.values(), as_stored(w, format), static_cast<size_t>(shape.cols));
    const Weight weight = pack(w, format);
    // Wide products round scaled weights to bf16.
    for (const DType type : {DType::kF32, DType::kBf16}) {
      const Tensor out = poisoned(type, {shape.rows, shape.outputs});
      backend().linear({.out = out, .input = {.x = put(x)}, .weight = weight, .residual = {}});
      const Owned first = get(out);
      expect_close(first, want, type == DType::kF32 && shape.rows <= 16 ? 1e-5 : kBf16Tolerance);
      backend().linear({.out = out, .input = {.x = put(x)}, .weight = weight, .residual = {}});
      EXPECT_TRUE(get(out).same_bits(first));
    }
  });
}

TEST_F(GpuLinear, AddsAResidualInPlaceToTheNormedProduct) {
  for_each_case([&](WeightFormat format, const Shape& shape) {
    const Owned x = Owned::random(DType::kBf16, {shape.rows, shape.cols}, 1, 3);
    const Owned gain = Owned::random(DType::kF32, {shape.cols}, 3);
    const Owned w = Owned::random(DType::kF32, {shape.outputs, shape.cols}, 2);
    const Owned residual = Owned::random(DType::kBf16, {shape.rows, shape.outputs}, 4);
    Doubles want = reference::product(reference::norm(x.values(), gain.values(), 1e-5),
                                      as_stored(w, format), static_cast<size_t>(shape.cols));
    for (size_t i = 0; i < want.size(); ++i) want[i] += residual.at(static_cast<int64_t>(i));
    const Tensor out = put(residual);
    backend().linear({.out = out,
                      .input = {.x = put(x),
                                .gain = put(gain),
                                .epsilon = 1e-5F,
                                .normed = poisoned(DType::kBf16, {shape.rows, shape.cols})},
                      .weight = pack(w, format),
                      .residual = out});
    expect_close(get(out), want, kBf16Tolerance);
  });
}

TEST_F(GpuLinear, GatesOneProductWithAnother) {
  for_each_case([&](WeightFormat format, const Shape& shape) {
    const double spread = 1 / std::sqrt(static_cast<double>(shape.cols));
    const Owned x = Owned::random(DType::kBf16, {shape.rows, shape.cols}, 1);
    const Owned gate = Owned::random(DType::kF32, {shape.outputs, shape.cols}, 2, spread);
    const Owned up = Owned::random(DType::kF32, {shape.outputs, shape.cols}, 3, spread);
    const Tensor out = poisoned(DType::kBf16, {shape.rows, shape.outputs});
    backend().gated_linear(
        {.out = out, .input = {.x = put(x)}, .gate = pack(gate, format), .up = pack(up, format)});
    expect_close(get(out),
                 reference::gated(x.values(), as_stored(gate, format), as_stored(up, format),
                                  static_cast<size_t>(shape.cols)),
                 kBf16Tolerance);
  });
}

TEST_F(GpuLinear, NormsOnlyTheRowsAskedFor) {
  const Owned x = Owned::random(DType::kBf16, {5, 24}, 1);
  const Owned gain = Owned::random(DType::kF32, {24}, 2);
  const Owned w = Owned::random(DType::kF32, {9, 24}, 3);
  const Tensor out = poisoned(DType::kF32, {2, 9});
  backend().linear({.out = out,
                    .input = {.x = put(x),
                              .gain = put(gain),
                              .epsilon = 1e-6F,
                              .normed = poisoned(DType::kBf16, {2, 24}),
                              .gather = put(std::vector<int32_t>{4, 1})},
                    .weight = pack(w, WeightFormat::kBf16),
                    .residual = {}});
  Doubles rows;
  for (const int from : {4, 1}) {
    for (int i = 0; i < 24; ++i) rows.push_back(x.at(from * 24 + i));
  }
  expect_close(get(out),
               reference::product(reference::norm(rows, gain.values(), 1e-6),
                                  as_stored(w, WeightFormat::kBf16), 24),
               kBf16Tolerance);
}

TEST_F(GpuLinear, IsTheSameInAGraph) {
  const Owned x = Owned::random(DType::kBf16, {3, 256}, 1);
  const Weight weight = pack(Owned::random(DType::kF32, {64, 256}, 2), WeightFormat::kInt4);
  const Tensor input = put(x);
  const Tensor eager = poisoned(DType::kBf16, {3, 64});
  backend().linear({.out = eager, .input = {.x = input}, .weight = weight, .residual = {}});
  const Tensor replayed = poisoned(DType::kBf16, {3, 64});
  backend().begin_capture();
  backend().linear({.out = replayed, .input = {.x = input}, .weight = weight, .residual = {}});
  const std::unique_ptr<Graph> graph = backend().end_capture();
  graph->replay();
  EXPECT_TRUE(get(replayed).same_bits(get(eager)));
}

}  // namespace
}  // namespace switchyard::gpu
