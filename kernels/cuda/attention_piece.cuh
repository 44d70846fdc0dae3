// How attention_decode cuts rows into pieces, and finds the pieces of a block. Device code only.
#pragma once

#include "kernels/cuda/attention_rows.cuh"
#include "kernels/cuda/attention_task.h"

namespace switchyard::cuda {

inline constexpr int kDecodeWarps = 4;
inline constexpr int kGranule = 16;  // keys that a warp takes at once
inline constexpr int kLeastPiece = kDecodeWarps * kGranule;
// Keys of a piece, unless memory for partial results is short. Finishing one takes about 4 us of a
// block, so pieces are no shorter than an even share of a multiprocessor asks for.
inline constexpr int kMostPiece = 2048;
inline constexpr int kLongPiece = 512;

// Where pieces begin depends on the row's length and the host's counts alone. A unit is what is
// attended together: a few new tokens of a row.
struct Cut {
  int longest;              // rows with more new tokens are not ours
  int tokens;               // of a unit, at most
  float share;              // rows * kv_heads / multiprocessors
  int most_pieces;          // of a row
  int pieces_at_once;       // of a row, while all blocks of the grid run
  bool by_token;            // a unit's place is that of its first token, else tokens * its row
  float* partial;           // [places, heads, most_pieces][head_dim], rows of a unit together
  float2* partial_softmax;  // the same without head_dim: largest, total
  uint32_t* arrived;        // [units, kv_heads]

  [[nodiscard]] __device__ int piece_keys(int keys) const {
    const float even = fminf(static_cast<float>(keys) * share, kMostPiece - 1.0f);
    int wanted = static_cast<int>(even) / kLeastPiece + 1;
    if (wanted * kLeastPiece > kLongPiece) {
      // Where blocks would be left over, up to twice as many pieces keep them busy too.
      const int enough = (keys - 1) / (wanted * kLeastPiece) + 1;
      const int pieces = max(enough, min(2 * enough, pieces_at_once));
      wanted = (keys - 1) / (kLeastPiece * pieces) + 1;
    }
    const int needed = (keys - 1) / (kLeastPiece * most_pieces) + 1;
    return max(wanted, needed) * kLeastPiece;
  }
  [[nodiscard]] __device__ int place_of(int row, int first_token) const {
    return by_token ? first_token : row * tokens;
  }
  [[nodiscard]] __device__ int unit_of(int row, int first_token) const {
    return by_token ? first_token : row;
  }
};

struct Piece {
  int row = -1;     // -1: there are no more
  int head;         // kv head
  int first_token;  // of the unit
  int queries;      // rows of the product: (token, query head of the group)
  int visible;      // keys that the unit's first token sees
  int keys;         // of the row
  int first_key, end_key;
  int index, count;  // among the pieces of the row
};

// The pieces of a block, found by each of its warps: every gridDim.x-th.
class PieceCursor {
 public:
  __device__ PieceCursor(const AttentionTask& task, const Cut& cut)
      : task_(task), cut_(cut), item_(static_cast<int>(blockIdx.x)) {}

  __device__ Piece next() {
    const RowCursor::Place place =
        rows_.seek(item_, task_.rows, [this](int row) { return items_of(row); });
    item_ += static_cast<int>(gridDim.x);
    Piece piece;
    piece.row = place.row;
    if (place.row < 0) return piece;
    piece.keys = __ldg(task_.kv_len + place.row);
    const int piece_keys = cut_.piece_keys(piece.keys);
    piece.count = pieces_of(piece.keys);
    const int rest = place.within / task_.kv_heads;
    piece.head = place.within - rest * task_.kv_heads;
    const int unit = rest / piece.count;
    piece.index = rest - unit * piece.count;
    const int row_end = __ldg(task_.row_start + place.row + 1);
    piece.first_token = __ldg(task_.row_start + place.row) + unit * cut_.tokens;
    piece.queries = min(cut_.tokens, row_end - piece.first_token) * task_.group;
    piece.visible = piece.keys - (row_end - piece.first_token) + 1;
    piece.first_key = piece.index * piece_keys;
    piece.end_key = min(piece.first_key + piece_keys, piece.keys);
    return piece;
  }

 private:
  [[nodiscard]] __device__ int pieces_of(int keys) const {
    return keys > 0 ? (keys - 1) / cut_.piece_keys(keys) + 1 : 1;
  }
  [[nodiscard]] __device__ int items_of(int row) const {
    const int tokens = __ldg(task_.row_start + row + 1) - __ldg(task_.row_start + row);
    const int keys = __ldg(task_.kv_len + row);
    if (tokens > cut_.longest) return 0;
    return (tokens + cut_.tokens - 1) / cut_.tokens * pieces_of(keys) * task_.kv_heads;
  }

  const AttentionTask& task_;
  const Cut& cut_;
  RowCursor rows_;
  int item_;
};

}  // namespace switchyard::cuda
