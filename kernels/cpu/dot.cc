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

// Row n of the weights is at n * row_bytes.
int64_t row_bytes_of(const DotTile& tile) { return matrix_bytes(tile.format, 0, 1, tile.cols); }

// Rows [m, m + kRows) of x with outputs [n, n + kOutputs).
template <class Stored, int kRows, int kOutputs>
struct FloatRegisters {
  static HWY_NOINLINE void dot(const DotTile& tile, int m_begin, int n_begin) {
    const int64_t cols = tile.cols;
    const auto* weight = static_cast<const typename Stored::Element*>(tile.weight) + n_begin * cols;
    Floats sums[kRows][kOutputs];
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
      for (int n = 0; n < kOutputs; ++n) sums[m][n] = hn::Zero(FloatTag());
    }
    const float* rows[kRows];
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) rows[m] = tile.x[m_begin + m];

    // The same columns of the next outputs: a row of weights is about a page long, and the
    // hardware's own prefetching starts anew with every page. Beyond the matrix the hint has no
    // effect.
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
    float* out = tile.out + m_begin * tile.out_stride + n_begin;
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
      for (int n = 0; n < kOutputs; ++n) out[m * tile.out_stride + n] = sum(sums[m][n]);
    }
  }
};

// A group's sums stay in registers; the totals meet them once a group.
template <class Codes, int kRows, int kOutputs>
struct CodeRegisters {
  static HWY_NOINLINE void dot(const DotTile& tile, int m_begin, int n_begin) {
    const int64_t cols = tile.cols;
    const int64_t row_bytes = row_bytes_of(tile);
    const int64_t groups = (cols + tile.group - 1) / tile.group;
    const uint8_t* weight = static_cast<const uint8_t*>(tile.weight) + n_begin * row_bytes;
    Floats totals[kRows][kOutputs];
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
      for (int n = 0; n < kOutputs; ++n) totals[m][n] = hn::Zero(FloatTag());
    }
    const float* rows[kRows];
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) rows[m] = tile.x[m_begin + m];

    for (int64_t g = 0; g < groups; ++g) {
      Floats sums[kRows][kOutputs];
#pragma GCC unroll 8
      for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
        for (int n = 0; n < kOutputs; ++n) sums[m][n] = hn::Zero(FloatTag());
      }
      int64_t k = g * tile.group;
      const int64_t end = k + tile.group < cols ? k + tile.group : cols;
      // The same group of the next outputs, as above.
      for (int n = 0; n < kOutputs; ++n) {
        const uint8_t* next = weight + (n + kOutputs) * row_bytes;
        for (int64_t byte = k * Codes::kBits / 8; byte < end * Codes::kBits / 8; byte += 64) {
          hwy::Prefetch(next + byte);
        }
      }
      for (; k + kLanes <= end; k += kLanes) {
        Floats value[kRows];
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) value[m] = hn::LoadU(FloatTag(), rows[m] + k);
#pragma GCC unroll 8
        for (int n = 0; n < kOutputs; ++n) {
          const Floats w = Codes::load(weight + n * row_bytes, k);
#pragma GCC unroll 8
          for (int m = 0; m < kRows; ++m) sums[m][n] = hn::MulAdd(value[m], w, sums[m][n]);
        }
      }
      if (k < end) {
        for (int m = 0; m < kRows; ++m) {
          const Floats value = load_first<StoredF32>(rows[m] + k, end - k);
          for (int n = 0; n < kOutputs; ++n) {
            const Floats w = load_first_codes<Codes>(weight + n * row_bytes, k, end - k);
            sums[m][n] = hn::MulAdd(value, w, sums[m][n]);
          }
        }
      }
#pragma GCC unroll 8
      for (int n = 0; n < kOutputs; ++n) {
        const Floats scale = Codes::scale(tile.scale, (n_begin + n) * groups + g);
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) totals[m][n] = hn::MulAdd(scale, sums[m][n], totals[m][n]);
      }
    }
    float* out = tile.out + m_begin * tile.out_stride + n_begin;
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
      for (int n = 0; n < kOutputs; ++n) out[m * tile.out_stride + n] = sum(totals[m][n]);
    }
  }
};

// The last rows, fewer than a full tile.
template <template <class, int, int> class Registers, class Stored, int kRows, int kOutputs>
void dot_remainder(const DotTile& tile, int m, int n) {
  if constexpr (kRows > 0) {
    if (tile.rows - m == kRows) return Registers<Stored, kRows, kOutputs>::dot(tile, m, n);
    dot_remainder<Registers, Stored, kRows - 1, kOutputs>(tile, m, n);
  }
}

template <template <class, int, int> class Registers, class Stored, int kOutputs>
void dot_outputs(const DotTile& tile, int n) {
  int m = 0;
  for (; m + kMaxRows <= tile.rows; m += kMaxRows) {
    Registers<Stored, kMaxRows, kOutputs>::dot(tile, m, n);
  }
  dot_remainder<Registers, Stored, kMaxRows - 1, kOutputs>(tile, m, n);
}

template <template <class, int, int> class Registers, class Stored>
void dot_format(const DotTile& tile) {
  int n = 0;
  for (; n + kMaxOutputs <= tile.outputs; n += kMaxOutputs) {
    dot_outputs<Registers, Stored, kMaxOutputs>(tile, n);
  }
  for (; n < tile.outputs; ++n) dot_outputs<Registers, Stored, 1>(tile, n);
}

void dot_tile(const DotTile& tile) {
  switch (tile.format) {
    case WeightFormat::kF32:
      return dot_format<FloatRegisters, StoredF32>(tile);
    case WeightFormat::kF16:
      return dot_format<FloatRegisters, StoredF16>(tile);
    case WeightFormat::kBf16:
      return dot_format<FloatRegisters, StoredBf16>(tile);
    case WeightFormat::kFp8:
      return dot_format<CodeRegisters, CodesFp8>(tile);
    case WeightFormat::kInt8:
      return dot_format<CodeRegisters, CodesInt8>(tile);
    case WeightFormat::kInt4:
      return dot_format<CodeRegisters, CodesInt4>(tile);
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
