// Weights that are 2:4 (kernels/cuda/sparse.h): packed bytes, read by the layout's own words, are
// the numbers that int4 gives for the dense matrix; products with them are those of the reference;
// what is not 2:4 is refused.
#include "kernels/cuda/sparse.h"

#include "kernels/cuda/probe.h"
#include "tests/kernels/gpu/device.h"

namespace switchyard::gpu {
namespace {

using reference::expect_close;

// Random numbers, at most two in every four columns: mostly two, sometimes one or none, in any
// places. Every seventh group of 32 columns is zeros.
Owned random_sparse(DType dtype, int64_t rows, int64_t cols, uint32_t seed) {
  Owned out = Owned::random(dtype, {rows, cols}, seed, 0.3);
  std::mt19937 random(seed + 1);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t col = 0; col < cols; col += 4) {
      constexpr uint32_t kPatterns[] = {0b0011, 0b0101, 0b1001, 0b0110, 0b1010, 0b1100,
                                        0b0011, 0b1010, 0b1100, 0b0001, 0b0010, 0b0100,
                                        0b1000, 0b0000, 0b0110, 0b1001};
      const uint32_t pattern = (row + col / 32) % 7 == 0 ? 0 : kPatterns[random() % 16];
      for (int64_t i = 0; i < 4 && col + i < cols; ++i) {
        if ((pattern >> i & 1) == 0) out.set(row * cols + col + i, 0);
      }
    }
  }
  return out;
}

// The dense matrix that packed bytes stand for: kept values at their indices.
Doubles unpacked(const std::vector<uint8_t>& data,
                 const std::vector<uint8_t>& scale,
                 const cuda::SparseWeight& weight) {
  const int64_t groups = cuda::groups_of(weight.group, weight.cols);
  const auto word_at = [&](int64_t at) {
    uint32_t word = 0;
    std::memcpy(&word, data.data() + at, 4);
    return word;
  };
  Doubles dense(static_cast<size_t>(weight.rows * weight.cols));
  for (int64_t row = 0; row < weight.rows; ++row) {
    for (int64_t col = 0; col < weight.cols; col += 4) {
      const int64_t tile = row / 16 * cuda::sparse_col_tiles(weight.cols) + col / 128;
      const int64_t base = tile * cuda::kSparseTileBytes;
      const int64_t j = col % 128 / 32;
      const int64_t chunk = col % 32 / 4;
      const int64_t g = row % 8;
      const int64_t low = row % 16 / 8;
      const uint32_t codes = word_at(base + (g * 4 + chunk % 4) * 16 + j * 4);
      const uint32_t indices =
          word_at(base + cuda::kSparseCodeBytes + (g * 4 + j % 2 * 2 + chunk / 4) * 8 + j / 2 * 4);
      const uint32_t index = indices >> (low * 16 + chunk % 4 * 4) & 15;
      EXPECT_LT(index & 3, index >> 2) << "row " << row << ", column " << col;
      const int64_t at = ((row / 16 * groups + col / weight.group) * 8 + g) * 2 + low;
      uint16_t bits = 0;
      std::memcpy(&bits, scale.data() + at * 2, 2);
      for (int kept = 0; kept < 2; ++kept) {
        const int64_t to = col + (kept == 0 ? index & 3 : index >> 2);
        const uint32_t code = codes >> ((low + chunk / 4 * 2) * 4 + kept * 16) & 15;
        const double value =
            (static_cast<int>(code) - 8) * double{reference::widen_bits(bits, DType::kF16)};
        if (to < weight.cols) {
          dense[row * weight.cols + to] = value;
        } else {
          EXPECT_EQ(value, 0) << "beyond the last column";
        }
      }
    }
  }
  return dense;
}

class Sparse : public Device {
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
    CUDA_CHECK(cudaMemset(on_.workspace, 0, cuda::Stream::kCounters * 4));
  }
  void TearDown() override {
    if (on_.stream == nullptr) return;
    std::vector<uint32_t> counters(cuda::Stream::kCounters);
    backend().download(counters.data(), on_.counters(), cuda::Stream::kCounters * 4);
    for (const uint32_t counter : counters) ASSERT_EQ(counter, 0u) << "left by a product";
    CUDA_CHECK(cudaStreamDestroy(on_.stream));
  }
  struct Packed {
    cuda::SparseWeight weight;
    int32_t refused = 0;  // chunks
  };
  Packed packed(const Owned& source) {
    const int64_t rows = source.view().dim(0);
    const int64_t cols = source.view().dim(1);
    const int group = group_for(WeightFormat::kInt4, cols);
    const WeightBytes bytes = cuda::sparse_bytes(group, rows, cols);
    const cuda::SparseWeight weight{.data = memory(bytes.data),
                                    .scale = memory(bytes.scale),
                                    .group = group,
                                    .rows = rows,
                                    .cols = cols};
    const Tensor refused = put(Owned::ints({0}));
    const Tensor dense = put(source);
    backend().synchronize();
    cuda::sparse_pack(
        on_,
        {.out = weight, .source = dense, .refused = reinterpret_cast<uint32_t*>(refused.i32())});
    CUDA_CHECK(cudaStreamSynchronize(on_.stream));
    return {weight, get(refused).view().i32()[0]};
  }
  std::vector<uint8_t> bytes_at(const void* device, int64_t count) {
    std::vector<uint8_t> bytes(static_cast<size_t>(count));
    backend().download(bytes.data(), device, count);
    return bytes;
  }
  Doubles unpacked_from_device(const cuda::SparseWeight& weight) {
    const WeightBytes size = cuda::sparse_bytes(weight.group, weight.rows, weight.cols);
    return unpacked(bytes_at(weight.data, size.data), bytes_at(weight.scale, size.scale), weight);
  }
  Owned product(const Tensor& x, const cuda::SparseWeight& weight, const Tensor& out) {
    backend().synchronize();
    cuda::sparse_product(on_, {.x = static_cast<const __nv_bfloat16*>(x.data),
                               .rows = x.dim(0),
                               .weight = weight,
                               .out = out.data,
                               .out_type = out.dtype,
                               .out_stride = out.dim(1)});
    CUDA_CHECK(cudaStreamSynchronize(on_.stream));
    return get(out);
  }
  cuda::Stream on_;
};

// Groups of 128, 64 and 32 columns, whole and not.
constexpr std::pair<int64_t, int64_t> kSizes[] = {{1, 1},    {16, 64},  {19, 77},  {33, 128},
                                                  {45, 320}, {131, 96}, {17, 2048}};

TEST_F(Sparse, KeepsWhatInt4RoundsTo) {
  for (const auto& [rows, cols] : kSizes) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
      SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(cols) + " " + name_of(dtype));
      const Owned source = random_sparse(dtype, rows, cols, 5);
      const Packed got = packed(source);
      EXPECT_EQ(got.refused, 0);
      EXPECT_EQ(unpacked_from_device(got.weight), as_stored(source, WeightFormat::kInt4));
    }
  }
}

TEST_F(Sparse, RefusesChunksOfMoreThanTwo) {
  Owned source = random_sparse(DType::kF32, 40, 256, 5);
  // Row 7: a chunk of three in the second group and one of four beside it. Row 39: one of three.
  for (const int64_t at :
       {7 * 256 + 128, 7 * 256 + 129, 7 * 256 + 131, 7 * 256 + 132, 7 * 256 + 133, 7 * 256 + 134,
        7 * 256 + 135, 39 * 256 + 60, 39 * 256 + 61, 39 * 256 + 63}) {
    source.set(at, 1);
  }
  for (const int64_t at : {7 * 256 + 130, 39 * 256 + 62}) source.set(at, 0);
  const Packed got = packed(source);
  EXPECT_EQ(got.refused, 3);
  const Tensor x = put(Owned::random(DType::kBf16, {9, 256}, 2));
  for (const int64_t rows : {1, 9}) {
    const Owned out = product(x.first(rows), got.weight, poisoned(DType::kF32, {rows, 40}));
    for (int64_t i = 0; i < rows * 40; ++i) {
      EXPECT_EQ(std::isnan(out.at(i)), i % 40 == 7 || i % 40 == 39) << i;
    }
  }
}

// Each kind of block, with few and many columns: whole, not whole, and split between blocks.
struct Shape {
  int64_t rows, outputs, cols;
};
constexpr Shape kShapes[] = {
    {1, 19, 77},      {8, 45, 320},     {17, 96, 100},  {64, 131, 64},   {200, 331, 128},
    {1, 45, 2048},    {8, 131, 5000},   {17, 45, 2048}, {64, 200, 2048}, {200, 131, 2048},
    {65, 77, 45},     {3, 16, 4096},    {32, 64, 192},  {33, 7, 96},     {2600, 1281, 192},
    {2500, 1281, 77}, {2049, 1500, 256}};

TEST_F(Sparse, MultipliesAsTheReference) {
  for (const auto& [rows, outputs, cols] : kShapes) {
    SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(outputs) + " x " +
                 std::to_string(cols));
    const Owned x = Owned::random(DType::kBf16, {rows, cols}, 1);
    const Tensor device_x = put(x);
    const Packed weight = packed(random_sparse(DType::kBf16, outputs, cols, 2));
    const Doubles want = reference::product(x.values(), unpacked_from_device(weight.weight), cols);
    const Tensor out = poisoned(DType::kBf16, {rows, outputs});
    const Owned first = product(device_x, weight.weight, out);
    expect_close(first, want, kBf16Tolerance);
    EXPECT_TRUE(product(device_x, weight.weight, out).same_bits(first));
    // Nothing rounded but products and sums in f32.
    const Owned wider = product(device_x, weight.weight, poisoned(DType::kF32, {rows, outputs}));
    expect_close(wider, want, rows <= 8 ? 1e-5 : kBf16Tolerance / 2);
  }
}

TEST_F(Sparse, WritesRowsThatAreApart) {
  for (const int64_t rows : {5, 70}) {
    const Owned x = Owned::random(DType::kBf16, {rows, 128}, 1);
    const Packed weight = packed(random_sparse(DType::kBf16, 45, 128, 2));
    const Doubles want = reference::product(x.values(), unpacked_from_device(weight.weight), 128);
    const Owned all = product(put(x), weight.weight, poisoned(DType::kF32, {rows, 48}));
    Owned got(DType::kF32, {rows, 45});
    for (int64_t i = 0; i < rows * 48; ++i) {
      if (i % 48 < 45) {
        got.set(i / 48 * 45 + i % 48, static_cast<float>(all.at(i)));
      } else {
        EXPECT_TRUE(std::isnan(all.at(i))) << i;
      }
    }
    expect_close(got, want, kBf16Tolerance);
  }
}

TEST_F(Sparse, GivesZerosForZeros) {
  const Packed weight = packed(Owned::random(DType::kBf16, {33, 64}, 1, 0));
  EXPECT_EQ(weight.refused, 0);
  const Tensor x = put(Owned::random(DType::kBf16, {40, 64}, 1));
  for (const int64_t rows : {1, 40}) {
    const Owned out = product(x.first(rows), weight.weight, poisoned(DType::kBf16, {rows, 33}));
    for (const double value : out.values()) EXPECT_EQ(value, 0);
  }
}

}  // namespace
}  // namespace switchyard::gpu
