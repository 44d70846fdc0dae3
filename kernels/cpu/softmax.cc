// Softmax and weighted values, vectorised. Values are read once for a group of rows.
#include "kernels/cpu/softmax.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/softmax.cc"
#include <hwy/foreach_target.h>

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard::cpu::HWY_NAMESPACE {

HWY_INLINE float exponential(float x) {
  return hn::GetLane(hn::Exp(FloatTag(), hn::Set(FloatTag(), x)));
}

float softmax_piece(float* scores, int count, float scale, RunningSoftmax& running) {
  const FloatTag d;
  float largest = running.largest;
  for (int i = 0; i < count; ++i) {
    scores[i] *= scale;
    largest = std::max(largest, scores[i]);
  }
  Floats total = hn::Zero(d);
  const Floats shift = hn::Set(d, largest);
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Floats weight = hn::Exp(d, hn::Sub(hn::LoadU(d, scores + i), shift));
    hn::StoreU(weight, d, scores + i);
    total = hn::Add(total, weight);
  }
  if (i < count) {
    const Floats piece = load_first<StoredF32>(scores + i, count - i);
    const Floats weight =
        hn::IfThenElseZero(hn::FirstN(d, count - i), hn::Exp(d, hn::Sub(piece, shift)));
    store_first(weight, scores + i, count - i);
    total = hn::Add(total, weight);
  }
  const float rescale = exponential(running.largest - largest);
  running.total = running.total * rescale + sum(total);
  running.largest = largest;
  return rescale;
}

template <class Stored, int kRows, int kColumns>
HWY_NOINLINE void add_registers(const WeightedValues& args, int row, int64_t column) {
  const FloatTag d;
  const auto* value = static_cast<const typename Stored::Element*>(args.value) + column;
  Floats sums[kRows][kColumns];
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
    const Floats rescale = hn::Set(d, args.rescale[row + m]);
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      const float* from = args.accumulated[row + m] + column + c * kLanes;
      sums[m][c] = hn::Mul(hn::LoadU(d, from), rescale);
    }
  }
  for (int j = 0; j < args.count; ++j) {
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      const Floats v = Stored::load(value + j * args.dim + c * kLanes);
#pragma GCC unroll 8
      for (int m = 0; m < kRows; ++m) {
        sums[m][c] = hn::MulAdd(hn::Set(d, args.weight[row + m][j]), v, sums[m][c]);
      }
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      hn::StoreU(sums[m][c], d, args.accumulated[row + m] + column + c * kLanes);
    }
  }
}

// The last columns, fewer than a vector.
template <class Stored>
void add_tail(const WeightedValues& args, int row, int64_t column) {
  const FloatTag d;
  const int64_t left = args.dim - column;
  const auto* value = static_cast<const typename Stored::Element*>(args.value) + column;
  float* accumulated = args.accumulated[row] + column;
  Floats total = hn::Mul(load_first<StoredF32>(accumulated, left), hn::Set(d, args.rescale[row]));
  for (int j = 0; j < args.count; ++j) {
    const Floats v = load_first<Stored>(value + j * args.dim, left);
    total = hn::MulAdd(hn::Set(d, args.weight[row][j]), v, total);
  }
  store_first(total, accumulated, left);
}

template <class Stored, int kRows>
void add_rows(const WeightedValues& args, int row) {
  int64_t column = 0;
  for (; column + 4 * kLanes <= args.dim; column += 4 * kLanes) {
    add_registers<Stored, kRows, 4>(args, row, column);
  }
  for (; column + kLanes <= args.dim; column += kLanes) {
    add_registers<Stored, kRows, 1>(args, row, column);
  }
  if (column < args.dim) {
    for (int m = 0; m < kRows; ++m) add_tail<Stored>(args, row + m, column);
  }
}

template <class Stored>
void add_format(const WeightedValues& args) {
  int row = 0;
  for (; row + 4 <= args.rows; row += 4) add_rows<Stored, 4>(args, row);
  for (; row + 2 <= args.rows; row += 2) add_rows<Stored, 2>(args, row);
  for (; row < args.rows; ++row) add_rows<Stored, 1>(args, row);
}

void add_weighted_values(const WeightedValues& args) {
  switch (args.dtype) {
    case DType::kF32:
      return add_format<StoredF32>(args);
    case DType::kF16:
      return add_format<StoredF16>(args);
    case DType::kBf16:
      return add_format<StoredBf16>(args);
    case DType::kI32:
      CHECK(false);
  }
}

}  // namespace switchyard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard::cpu {

HWY_EXPORT(softmax_piece);
float softmax_piece(float* scores, int count, float scale, RunningSoftmax& running) {
  return HWY_DYNAMIC_DISPATCH(softmax_piece)(scores, count, scale, running);
}

HWY_EXPORT(add_weighted_values);
void add_weighted_values(const WeightedValues& args) {
  HWY_DYNAMIC_DISPATCH(add_weighted_values)(args);
}

}  // namespace switchyard::cpu
#endif
