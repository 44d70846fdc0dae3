// Weights on their way to a held kernel's products: each warp copies its own rows of tiles through
// a ring of its own in shared memory, and makes them operands while the products before run. Device
// code only.
#pragma once

#include "kernels/cuda/sm90/wgmma.cuh"
#include "kernels/cuda/wide_held_args.h"
#include "kernels/cuda/wide_tile.cuh"

namespace switchyard::cuda {
namespace {

// kTilesOfRing tiles of each stream in a warp's ring.
template <WeightFormat kWeightFormat, int kGateStreams, int kBlockWarps, int kTilesOfRing>
struct HeldStream {
  static constexpr WeightFormat kFormat = kWeightFormat;
  static constexpr int kStreams = kGateStreams;
  static constexpr int kWarps = kBlockWarps;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kCodeBytes = Tile<kFormat>::kBytes;
  static constexpr int kSlotBytes = held_slot_bytes(kFormat);
  static constexpr int kScaleBytes = kSlotBytes - kCodeBytes;
  static constexpr int kStageBytes = kStreams * kSlotBytes;
  static constexpr int kRing = kTilesOfRing;
  static constexpr int kRingBytes = kRing * kStageBytes;
};

__device__ __forceinline__ void copy_async_if(bool wanted,
                                              uint32_t shared,
                                              const void* global,
                                              bool valid) {
  asm volatile(
      "{ .reg .pred wanted; setp.ne.s32 wanted, %3, 0;\n"
      "@wanted cp.async.cg.shared.global [%0], [%1], 16, %2; }"
      :
      : "r"(shared), "l"(global), "r"(valid ? 16 : 0), "r"(static_cast<int>(wanted))
      : "memory");
}

// A row of tiles: where its codes and its scales begin.
struct HeldRow {
  const char* data = nullptr;
  const char* scale = nullptr;
};

// What a warp copies: tiles [begin, end) of its row of each unit first, first + stride, ... below
// `units`; tiles from `k_tiles` on are zeros. `rows(unit, stream)` is a HeldRow.
struct HeldUnits {
  int first, stride, units;
  int begin, end, k_tiles;
  int group_shift;
};

template <typename Shape, typename Rows>
class HeldCopies {
 public:
  __device__ __forceinline__ HeldCopies(const HeldUnits& units, Rows& rows)
      : units_(units), rows_(rows), unit_(units.first) {
    enter();
  }
  // Starts copying the next tile of each stream, zeros if there is none; one group of copies.
  __device__ __forceinline__ void start(uint32_t to) {
    // Not behind the copies, whose addresses a branch would have to wait for.
    if (tile_ == units_.end) {
      unit_ += units_.stride;
      enter();
    }
    const auto lane = threadIdx.x % 32;
    const bool there = tile_ < limit_;
#pragma unroll
    for (int s = 0; s < Shape::kStreams; ++s) {
      const uint32_t slot = to + s * Shape::kSlotBytes + lane * 16;
#pragma unroll
      for (int p = 0; p < Tile<Shape::kFormat>::kPieces; ++p) {
        copy_async(slot + p * 512, data_[s] + p * 512, there);
      }
      data_[s] += Shape::kCodeBytes;
      if constexpr (Shape::kScaleBytes > 0) {
        const auto group = static_cast<uint32_t>(tile_ * kTileCols) >> units_.group_shift;
        copy_async_if(lane < Shape::kScaleBytes / 16, slot + Shape::kCodeBytes,
                      scale_[s] + group * Shape::kScaleBytes, there);
      }
    }
    ++tile_;
    commit_copies();
  }

 private:
  __device__ __forceinline__ void enter() {
    tile_ = units_.begin;
    limit_ = unit_ < units_.units ? units_.k_tiles : 0;
    if (limit_ == 0) return;
    const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
    for (int s = 0; s < Shape::kStreams; ++s) {
      const HeldRow row = rows_(unit_, s);
      data_[s] = row.data + tile_ * Shape::kCodeBytes + lane * 16;
      scale_[s] = row.scale + lane * 16;
    }
  }

  const HeldUnits units_;
  Rows& rows_;
  int unit_;
  int tile_ = 0, limit_ = 0;                 // tiles from the limit on are zeros
  const char* data_[Shape::kStreams] = {};   // of this lane, of the next tile
  const char* scale_[Shape::kStreams] = {};  // of this lane, of the first group
};

// A warp's operands: of one tile in products under way, of the next being made.
template <typename Shape, typename Copies>
class HeldOperands {
 public:
  // `ring` is the warp's; `zero` is 0, and must not look like it.
  __device__ __forceinline__ HeldOperands(Copies& copies, const char* ring, uint32_t zero)
      : copies_(copies), ring_(ring), ring_address_(shared_address(ring)), zero_(zero) {
#pragma unroll 1
    for (int i = 0; i < Shape::kRing; ++i) copies_.start(ring_address_ + i * Shape::kStageBytes);
  }
  // The first tile's, before any product.
  __device__ __forceinline__ void begin() {
    read_tile();
    prepare(operand_[0]);
    if constexpr (kEarly) {
      refill();
      read_tile();
    }
  }
  // sum[s] += products of the tile at hand with the tile of x at `x`; kParity is its number modulo
  // 2. Meanwhile the operands of the next.
  template <int kParity, int kColumns>
  __device__ __forceinline__ void multiply(float (&sum)[Shape::kStreams][kColumns / 8][4],
                                           uint64_t x) {
    begin_products();
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int s = 0; s < Shape::kStreams; ++s) {
        wgmma<kColumns>(sum[s], operand_[kParity][j][s], operand_ahead(x, 32 * j));
      }
    }
    commit_products();
    refill();
    if constexpr (!kEarly) read_tile();
    wait_for_products<1>();
    prepare(operand_[1 - kParity]);
    if constexpr (kEarly) read_tile();
  }

 private:
  using Operand = Fragment[4][Shape::kStreams];
  // A tile is read one ahead of the operands that are made, where registers allow: its way from
  // shared memory takes a while.
  static constexpr bool kEarly =
      Shape::kFormat == WeightFormat::kInt4 || Shape::kFormat == WeightFormat::kInt8;

  // Copies another tile to where the last one was read, and goes on to the next.
  __device__ __forceinline__ void refill() {
    __syncwarp();  // all have read their scales
    copies_.start(ring_address_ + place_);
    place_ = place_ == Shape::kRingBytes - Shape::kStageBytes ? 0 : place_ + Shape::kStageBytes;
  }
  __device__ __forceinline__ void read_tile() {
    wait_for_copies<Shape::kRing - 1>();
    __syncwarp();  // other lanes copied the scales
#pragma unroll
    for (int s = 0; s < Shape::kStreams; ++s) {
      const char* slot = ring_ + place_ + s * Shape::kSlotBytes;
      weights_[s].read(slot, slot + Shape::kCodeBytes, static_cast<int>(threadIdx.x % 32));
    }
  }
  __device__ __forceinline__ void prepare(Operand& to) const {
#pragma unroll
    for (int s = 0; s < Shape::kStreams; ++s) {
      const auto scaling = weights_[s].scaling(0);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if constexpr (is_quantised(Shape::kFormat)) {
          to[j][s] = scaled_in_order(weights_[s].bits(j), scaling.by, scaling.plus);
        } else {
          to[j][s] = moved_in_order(weights_[s].bits(j), zero_);
        }
      }
    }
  }

  Copies& copies_;
  const char* ring_;
  uint32_t ring_address_, zero_;
  uint32_t place_ = 0;  // in the ring, bytes
  Operand operand_[2];
  ScaledTile<Shape::kFormat> weights_[Shape::kStreams];
};

}  // namespace
}  // namespace switchyard::cuda
