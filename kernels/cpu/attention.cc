// Attention, block by block of the cache with an online softmax.
// A query meets the keys in pieces that begin at fixed multiples from its row's first key, and a
// piece is cut only by the query's own position: so its result does not depend on the chunk it
// came in. Threads split (tile of tokens, kv head); the query heads of a kv head and the tokens of
// a tile meet a piece of keys together, while it is in the core's cache. Long contexts of few rows
// are therefore spread over at most kv_heads threads.
// flops: 4 * heads * head_dim * keys per token.  bytes: the row's keys and values once per tile.
#include "kernels/cpu/attention.h"

#include <algorithm>
#include <array>
#include <limits>

#include "kernels/cpu/dot.h"
#include "kernels/cpu/kv_store.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/norm.h"
#include "kernels/cpu/rope.h"
#include "kernels/cpu/softmax.h"

namespace switchyard::cpu {
namespace {

constexpr int kPieceKeys = 64;
constexpr int kTileQueries = 32;  // tokens x query heads

// Query heads [head, head + heads) of tokens [token, token + tokens), all of one row and one kv
// head. tokens * heads <= kTileQueries.
struct QueryTile {
  int row = 0;
  int kv_head = 0;
  int head = 0;
  int heads = 0;
  int token = 0;
  int tokens = 0;
};

// A piece of one block's keys or values: [count, head_dim], contiguous.
struct Piece {
  int64_t first_key = 0;  // in the row
  int count = 0;
  const void* keys = nullptr;
  const void* values = nullptr;
};

class TileAttention {
 public:
  TileAttention(const AttentionArgs& args, const RaggedBatch& batch, const QueryTile& tile)
      : args_(args), batch_(batch), tile_(tile), queries_(tile.tokens * tile.heads) {
    const int64_t dim = args.shape.head_dim;
    const int64_t stride = args.shape.heads * dim;
    for (int i = 0; i < queries_; ++i) {
      const int64_t at =
          (tile.token + i / tile.heads) * stride + (tile.head + i % tile.heads) * dim;
      query_[i] = args.q.f32() + at;
      out_[i] = args.out.f32() + at;
      weight_[i] = scores_.data() + i * kPieceKeys;
      running_[i] = {.largest = -std::numeric_limits<float>::infinity(), .total = 0};
      std::fill_n(out_[i], dim, 0.0f);
    }
  }

  void run() {
    const int64_t last_visible = visible(tile_.tokens - 1);
    for (int64_t key = 0; key < last_visible;) {
      const Piece piece = piece_at(key, last_visible);
      meet(piece);
      key += piece.count;
    }
    for (int i = 0; i < queries_; ++i) {
      if (running_[i].total == 0) continue;  // saw no key: stays zero
      for (int d = 0; d < args_.shape.head_dim; ++d) out_[i][d] /= running_[i].total;
    }
  }

 private:
  // How many keys the tile's i-th token sees.
  [[nodiscard]] int64_t visible(int i) const {
    const int32_t from_row_end = batch_.row_start[tile_.row + 1] - (tile_.token + i) - 1;
    return int64_t{batch_.kv_len[tile_.row]} - from_row_end;
  }

  [[nodiscard]] Piece piece_at(int64_t key, int64_t end) const {
    const AttentionShape& shape = args_.shape;
    const int64_t place = batch_.block_start[tile_.row] + key / shape.block_tokens;
    CHECK(place < batch_.block_start[tile_.row + 1]);
    const int64_t block = batch_.block_id[place];
    CHECK(block >= 0 && block < args_.cache.key.dim(0));
    const int64_t offset = key % shape.block_tokens;
    const int64_t bytes = ((block * shape.kv_heads + tile_.kv_head) * shape.block_tokens + offset) *
                          shape.head_dim * bytes_of(args_.cache.key.dtype);
    return {.first_key = key,
            .count = static_cast<int>(
                std::min({int64_t{kPieceKeys}, shape.block_tokens - offset, end - key})),
            .keys = static_cast<const char*>(args_.cache.key.data) + bytes,
            .values = static_cast<const char*>(args_.cache.value.data) + bytes};
  }

  void meet(const Piece& piece) {
    dot_tile({.x = query_.data(),
              .rows = queries_,
              .weight = piece.keys,
              .format = format_of(args_.cache.key.dtype),
              .cols = args_.shape.head_dim,
              .outputs = piece.count,
              .out = scores_.data(),
              .out_stride = kPieceKeys});
    for (int token = 0; token < tile_.tokens; ++token) {
      const int64_t count = std::min<int64_t>(piece.count, visible(token) - piece.first_key);
      if (count > 0) add(piece, token * tile_.heads, static_cast<int>(count));
    }
  }

  // The queries of one token, which see the first `count` keys of the piece.
  void add(const Piece& piece, int query, int count) {
    std::array<float, kTileQueries> rescale;
    for (int h = 0; h < tile_.heads; ++h) {
      rescale[h] = softmax_piece(scores_.data() + (query + h) * kPieceKeys, count, args_.scale,
                                 running_[query + h]);
    }
    add_weighted_values({.accumulated = out_.data() + query,
                         .weight = weight_.data() + query,
                         .rescale = rescale.data(),
                         .rows = tile_.heads,
                         .value = piece.values,
                         .dtype = args_.cache.value.dtype,
                         .count = count,
                         .dim = args_.shape.head_dim});
  }

  const AttentionArgs& args_;
  const RaggedBatch& batch_;
  const QueryTile tile_;
  const int queries_;
  std::array<const float*, kTileQueries> query_;
  std::array<float*, kTileQueries> out_;
  std::array<const float*, kTileQueries> weight_;
  std::array<RunningSoftmax, kTileQueries> running_;
  std::array<float, kTileQueries * kPieceKeys> scores_;
};

// Tokens [begin, end) of any rows, one kv head.
void attend(const AttentionArgs& args, const RaggedBatch& batch, QueryTile tile, int end) {
  const int group = args.shape.heads / args.shape.kv_heads;
  const int32_t* row_end = batch.row_start + 1;
  while (tile.token < end) {
    tile.row =
        static_cast<int>(std::upper_bound(row_end, row_end + batch.num_rows, tile.token) - row_end);
    CHECK(tile.row < batch.num_rows);
    tile.tokens = std::min(end, row_end[tile.row]) - tile.token;
    for (int done = 0; done < group; done += kTileQueries) {
      tile.head = tile.kv_head * group + done;
      tile.heads = std::min(kTileQueries, group - done);
      TileAttention(args, batch, tile).run();
    }
    tile.token += tile.tokens;
  }
}

}  // namespace

void qkv(ThreadPool& pool, const QkvArgs& args, const RaggedBatch& batch) {
  norm_input(pool, args.input);
  const Tensor x = args.input.rows();
  const int64_t kv_width = args.k_proj.rows;
  const int64_t kv_stride = 2 * kv_width;
  float* key = args.kv_work.f32();
  project(pool, {.x = x, .weight = args.q_proj, .out = args.q.f32(), .out_stride = args.q.dim(1)});
  project(pool, {.x = x, .weight = args.k_proj, .out = key, .out_stride = kv_stride});
  project(pool, {.x = x, .weight = args.v_proj, .out = key + kv_width, .out_stride = kv_stride});

  const auto gain = [](const Tensor& tensor) { return tensor.empty() ? nullptr : tensor.f32(); };
  norm_and_rope(pool, {.q = {.heads = args.q.f32(),
                             .stride = args.q.dim(1),
                             .count = args.shape.heads,
                             .gain = gain(args.q_gain)},
                       .k = {.heads = key,
                             .stride = kv_stride,
                             .count = args.shape.kv_heads,
                             .gain = gain(args.k_gain)},
                       .head_dim = args.shape.head_dim,
                       .epsilon = args.head_epsilon,
                       .inv_frequency = args.inv_frequency.f32(),
                       .position = batch.position,
                       .tokens = batch.num_tokens});
  store_kv(pool, args.kv_work, args.cache, args.shape, batch.kv_slot);
}

void attention(ThreadPool& pool, const AttentionArgs& args, const RaggedBatch& batch) {
  const int group = args.shape.heads / args.shape.kv_heads;
  const int tile_tokens = std::max(1, kTileQueries / group);
  const int64_t tiles = (batch.num_tokens + tile_tokens - 1) / tile_tokens;
  pool.parallel_for(tiles * args.shape.kv_heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int first = static_cast<int>(i / args.shape.kv_heads) * tile_tokens;
      attend(args, batch, {.kv_head = static_cast<int>(i % args.shape.kv_heads), .token = first},
             std::min(batch.num_tokens, first + tile_tokens));
    }
  });
}

}  // namespace switchyard::cpu
