// How attention_decode cuts rows into pieces, and finds those of a team: the block, or the cluster
// of blocks, that takes a piece. Device code only.
#pragma once

#include "kernels/cuda/attention_rows.cuh"
#include "kernels/cuda/attention_task.h"

namespace switchyard::cuda {

inline constexpr int kGranule = 16;  // keys that a warp takes at once

// No shorter pieces, where rows are cut only to keep the device busy.
inline constexpr int kLeastPiece = 128;

// A unit is what is attended together: a token, or the few new tokens of a row. How it is cut
// depends on its row's length and the host's counts alone.
struct Cut {
  int units;
  bool by_token;      // a unit is a token, else a row
  int longest;        // rows with more new tokens are not ours
  int busy_pieces;    // of a unit, while the device would have nothing else to do
  int longest_shift;  // a piece has at most 1 << this keys, unless memory for partials is short
  int most_pieces;    // of a unit
  int items;          // units * kv_heads: as many teams begin with the first piece of one each
  int extra_teams;    // those after them, for further pieces
  int most_queries;   // of a unit and kv head
  float* partial;     // [units, kv_heads, most_pieces, most_queries][head_dim]
  float2* partial_softmax;  // [the same][blocks of a team]: largest, total
  uint32_t* arrived;        // [units, kv_heads, blocks of a team]

  [[nodiscard]] __device__ int pieces_of(int keys) const {
    if (keys <= kLeastPiece) return 1;
    const int busy = min((keys - 1) / kLeastPiece + 1, busy_pieces);
    return min(max(busy, ((keys - 1) >> longest_shift) + 1), most_pieces);
  }
};

struct Unit {
  int row;
  int first_token;
  int tokens;   // 0: not ours
  int keys;     // of the row
  int old;      // of them, those of steps before
  int visible;  // those that the first token sees

  __device__ __forceinline__ Unit(const AttentionTask& task, const Cut& cut, int index)
      : row(index) {
    int begin = __ldg(task.row_start + row);
    int end = __ldg(task.row_start + row + 1);
    keys = __ldg(task.kv_len + row);
    first_token = begin;
    tokens = end - begin <= cut.longest ? end - begin : 0;
    if (cut.by_token) {
      first_token = index;
      tokens = 1;
      if (begin != index || end <= index) {  // some rows have no token, or several
        for (row = 0; __ldg(task.row_start + row + 1) <= index; ++row) {
        }
        begin = __ldg(task.row_start + row);
        end = __ldg(task.row_start + row + 1);
        keys = __ldg(task.kv_len + row);
      }
    }
    old = keys - (end - begin);
    visible = keys - (end - first_token) + 1;
  }
};

struct Piece {
  int queries = 0;  // rows of the product: (token, query head of the group); 0: there are no more
  int unit;
  int head;         // kv head
  int first_token;  // of the unit
  int visible;      // keys that the unit's first token sees
  int keys;         // that its last one sees
  int old;          // keys of steps before
  int first_key, end_key;
  int index, count;  // among the pieces of the unit
  const int32_t* blocks;
};

// The pieces of a team, found by each of its warps.
class PieceCursor {
 public:
  __device__ PieceCursor(const AttentionTask& task, const Cut& cut, int team)
      : task_(task), cut_(cut), next_(team), first_(team < cut.items) {
    if (!first_) next_ -= cut.items;
  }

  __device__ __forceinline__ Piece next() {
    if (next_ == kNone) return {};
    int unit;
    int within;  // among the unit's pieces, the kv heads of each together
    if (first_) {
      unit = next_ / task_.kv_heads;
      within = next_ - unit * task_.kv_heads;
      next_ = kNone;
    } else {
      const RowCursor::Place place = units_.seek(next_, cut_.units, [this](int index) {
        const Unit one(task_, cut_, index);
        return one.tokens > 0 ? (cut_.pieces_of(one.keys) - 1) * task_.kv_heads : 0;
      });
      next_ += cut_.extra_teams;
      if (place.row < 0) return {};
      unit = place.row;
      within = place.within + task_.kv_heads;
    }
    const int index = within / task_.kv_heads;
    return piece_of(unit, within - index * task_.kv_heads, index);
  }

 private:
  static constexpr int kNone = -1;

  [[nodiscard]] __device__ __forceinline__ Piece piece_of(int index, int head, int piece) const {
    const Unit unit(task_, cut_, index);
    const int count = cut_.pieces_of(unit.keys);
    const int length =
        count == 1 ? unit.keys : ((unit.keys - 1) / (count * kGranule) + 1) * kGranule;
    const int keys = cut_.by_token ? unit.visible : unit.visible + unit.tokens - 1;
    return {.queries = unit.tokens * task_.group,
            .unit = index,
            .head = head,
            .first_token = unit.first_token,
            .visible = unit.visible,
            .keys = keys,
            .old = unit.old,
            .first_key = piece * length,
            .end_key = min(piece * length + length, keys),
            .index = piece,
            .count = count,
            .blocks = task_.block_id + __ldg(task_.block_start + unit.row)};
  }

  const AttentionTask& task_;
  const Cut& cut_;
  RowCursor units_;
  int next_;    // of the first pieces, or of the further ones
  bool first_;  // which
};

}  // namespace switchyard::cuda
