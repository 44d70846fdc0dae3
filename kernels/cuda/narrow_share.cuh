// How a block's units are shared out over its warps. Device code only.
#pragma once

#include <cstdint>

namespace switchyard::cuda {

inline constexpr int kNarrowWarps = 8;  // of a block, where the job does not say otherwise

// floor(a / b) for 0 <= a < 2^20 and b > 0, in a few instructions.
__device__ __forceinline__ int quotient(int a, int b) {
  return __float2int_rd(__fdividef(static_cast<float>(a) + 0.5f, static_cast<float>(b)));
}

// The units of a block.
struct NarrowUnits {
  int first, last;  // without the last

  __device__ __forceinline__ int count() const { return last - first; }
};

// Part `index` of `parts` of all units: the first ones have one more than the others.
__device__ __forceinline__ NarrowUnits part_of_units(int units, int index, int parts) {
  const int least = quotient(units, parts);
  const int more = units - least * parts;
  const int first = least * index + min(index, more);
  return {first, first + least + (index < more ? 1 : 0)};
}

// What a warp multiplies: stages of its block's units, one unit after another.
template <int kWarps>
struct NarrowShare {
  int all, per_unit;  // stages of the block, of a unit
  int at;             // the next stage: of the block's,
  int unit, place;    // as a unit and a stage of it
  int left;

  NarrowShare() = default;
  __device__ __forceinline__ NarrowShare(const NarrowUnits& units, int stages_of_unit)
      : all(units.count() * stages_of_unit), per_unit(stages_of_unit) {
    const int warp = threadIdx.x / 32;
    at = begin_of(warp);
    const int into = quotient(at, per_unit);
    unit = units.first + into;
    place = at - into * per_unit;
    left = begin_of(warp + 1) - at;
  }
  __device__ __forceinline__ int begin_of(int warp) const { return all * warp / kWarps; }
  // By stages of one unit.
  __device__ __forceinline__ void advance(int stages) {
    at += stages;
    left -= stages;
    place += stages;
    if (place == per_unit) {
      place = 0;
      ++unit;
    }
  }
};

}  // namespace switchyard::cuda
