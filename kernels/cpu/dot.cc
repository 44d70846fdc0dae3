// Register tiles of rows x outputs: `kRows` rows of x meet kOutputs rows of weights, so that a
// weight is converted once for several rows and x is loaded once for several outputs.
// flops: 2 * rows * outputs * cols.  bytes: the weights once per tile, x from cache.
#include "kernels/cpu/dot.h"

#include <hwy/cache_control.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/dot.cc"
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard::cpu::HWY_NAMESPACE {

// 6 x 4 sums and 7 operands fit in the 32 registers of AVX-512; 3 x 4 and 4 in 16.
constexpr int kMaxRows = kLanes == 16 ? 6 : 3;
constexpr int kMaxOutputs = 4;

template <class Stored, int kRows, int kOutputs>
HWY_NOINLINE void dot_registers(const float* const* x,
                                const typename Stored::Element* weight,
                                const DotTile& tile,
                                float* out) {
  const int64_t cols = tile.cols;
  Floats sums[kRows][kOutputs];
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int n = 0; n < kOutputs; ++n) sums[m][n] = hn::Zero(FloatTag());
  }
  const float* rows[kRows];
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) rows[m] = x[m];

  // The same columns of the next outputs: a row of weights is about a page long, and the hardware's
  // own prefetching starts anew with every page. Beyond the matrix the hint has no effect.
  const int64_t ahead = kOutputs * cols;
  int64_t k = 0;
  for (; k + kLanes <= cols; k += kLanes) {
    Floats value[kRows];
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) value[m] = hn::LoadU(FloatTag(), rows[m] + k);
#pragma GCC unroll 8
    for (int n = 0; n < kOutputs; ++n) {
      const auto* from = weight + n * cols + k;
      hwy::Prefetch(from + ahead);
      const Floats w = Stored::load(from);
#pragma GCC unroll 8
      for (int m = 0; m < kRows; ++m) sums[m][n] = hn::MulAdd(value[m], w, sums[m][n]);
    }
  }
  if (k < cols) {
    for (int m = 0; m < kRows; ++m) {
      const Floats value = load_first<StoredF32>(rows[m] + k, cols - k);
      for (int n = 0; n < kOutputs; ++n) {
        const Floats w = load_first<Stored>(weight + n * cols + k, cols - k);
        sums[m][n] = hn::MulAdd(value, w, sums[m][n]);
      }
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int n = 0; n < kOutputs; ++n) out[m * tile.out_stride + n] = sum(sums[m][n]);
  }
}

// The last rows, fewer than a full tile.
template <class Stored, int kRows, int kOutputs>
void dot_remainder(const DotTile& tile,
                   const typename Stored::Element* weight,
                   int done,
                   float* out) {
  if constexpr (kRows > 0) {
    if (tile.rows - done == kRows) {
      return dot_registers<Stored, kRows, kOutputs>(tile.x + done, weight, tile,
                                                    out + done * tile.out_stride);
    }
    dot_remainder<Stored, kRows - 1, kOutputs>(tile, weight, done, out);
  }
}

template <class Stored, int kOutputs>
void dot_outputs(const DotTile& tile, const typename Stored::Element* weight, float* out) {
  int m = 0;
  for (; m + kMaxRows <= tile.rows; m += kMaxRows) {
    dot_registers<Stored, kMaxRows, kOutputs>(tile.x + m, weight, tile, out + m * tile.out_stride);
  }
  dot_remainder<Stored, kMaxRows - 1, kOutputs>(tile, weight, m, out);
}

template <class Stored>
void dot_format(const DotTile& tile) {
  const auto* weight = static_cast<const typename Stored::Element*>(tile.weight);
  int n = 0;
  for (; n + kMaxOutputs <= tile.outputs; n += kMaxOutputs) {
    dot_outputs<Stored, kMaxOutputs>(tile, weight + n * tile.cols, tile.out + n);
  }
  for (; n < tile.outputs; ++n) {
    dot_outputs<Stored, 1>(tile, weight + n * tile.cols, tile.out + n);
  }
}

void dot_tile(const DotTile& tile) {
  switch (tile.format) {
    case WeightFormat::kF32:
      return dot_format<StoredF32>(tile);
    case WeightFormat::kF16:
      return dot_format<StoredF16>(tile);
    case WeightFormat::kBf16:
      return dot_format<StoredBf16>(tile);
    case WeightFormat::kFp8:
    case WeightFormat::kInt8:
    case WeightFormat::kInt4:
      CHECK(false);
  }
}

}  // namespace switchyard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard::cpu {

HWY_EXPORT(dot_tile);
void dot_tile(const DotTile& tile) { HWY_DYNAMIC_DISPATCH(dot_tile)(tile); }

}  // namespace switchyard::cpu
#endif
