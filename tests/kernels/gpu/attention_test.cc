// Attention on the GPU against the reference: rows of one token, chunks and both in one batch, over
// caches of every type whose unwritten slots hold NaN; splitting a row's keys; bits.
#include <cuda_runtime.h>

#include "kernels/cuda/attention.h"
#include "tests/kernels/gpu/device.h"

namespace switchyard::gpu {
namespace {

using reference::Batch;
using reference::Rows;

struct Case {
  int heads, kv_heads, dim, block_tokens;
  DType cache;
};
// On tensor cores, then those that are not.
constexpr Case kFast[] = {
    {4, 1, 64, 64, DType::kBf16},   {32, 8, 64, 16, DType::kBf16},  {8, 8, 64, 64, DType::kBf16},
    {6, 2, 128, 16, DType::kBf16},  {32, 8, 128, 64, DType::kBf16}, {16, 1, 64, 32, DType::kBf16},
    {22, 2, 128, 64, DType::kBf16},
};
constexpr Case kGeneral[] = {
    {4, 1, 12, 16, DType::kF32},  {6, 2, 16, 64, DType::kBf16},  {8, 8, 32, 16, DType::kF16},
    {6, 2, 64, 64, DType::kF16},  {4, 1, 128, 16, DType::kF32},  {40, 1, 64, 64, DType::kBf16},
    {4, 2, 64, 24, DType::kBf16}, {2, 1, 256, 16, DType::kBf16}, {2, 1, 6, 64, DType::kF32},
};
const Rows kMixes[] = {
    {.tokens = {0}, .past = {5}},
    {.tokens = {1}, .past = {0}},
    {.tokens = {1}, .past = {1000}},
    {.tokens = {1, 1, 1, 1, 1}, .past = {0, 63, 64, 65, 1000}},
    {.tokens = {3, 64, 65, 200}, .past = {0, 1, 64, 100}},
    {.tokens = {200}, .past = {0}},
    {.tokens = {1, 3, 64, 1, 200, 65, 1, 2, 5}, .past = {1000, 100, 64, 0, 1, 0, 63, 65, 700}},
    {.tokens = {2, 0, 1, 3, 0, 0, 1}, .past = {130, 0, 63, 64, 0, 0, 400}},  // as many as rows
};
constexpr float kScale = 0.17F;

class Attention : public Device {
 protected:
  // A layer whose cache holds random keys of the rows, NaN elsewhere.
  struct World {
    World(const Case& chosen, const Rows& rows)
        : test(chosen),
          batch(rows, chosen.block_tokens),
          q(Owned::random(DType::kBf16, {tokens(), int64_t{test.heads} * test.dim}, 3)),
          key(cache_of(4)),
          value(cache_of(5)) {}

    [[nodiscard]] int64_t tokens() const { return batch.view().num_tokens; }
    [[nodiscard]] int64_t slot(int row, int key_index) const {
      const RaggedBatch view = batch.view();
      const int64_t block = view.block_id[view.block_start[row] + key_index / test.block_tokens];
      return block * test.block_tokens + key_index % test.block_tokens;
    }
    [[nodiscard]] int64_t place(int64_t slot, int kv_head) const {
      const int64_t block = slot / test.block_tokens;
      return ((block * test.kv_heads + kv_head) * test.block_tokens + slot % test.block_tokens) *
             test.dim;
    }
    [[nodiscard]] Owned cache_of(uint32_t seed) const {
      const RaggedBatch view = batch.view();
      const int64_t blocks = 1 + int64_t{view.num_rows} * Batch::kBlocksPerRow;
      Owned cache =
          Owned::poisoned(test.cache, {blocks, test.kv_heads, test.block_tokens, test.dim});
      std::mt19937 random(seed);
      std::normal_distribution<float> normal(0, 1);
      for (int r = 0; r < view.num_rows; ++r) {
        for (int i = 0; i < view.kv_len[r]; ++i) {
          for (int h = 0; h < test.kv_heads; ++h) {
            const int64_t at = place(slot(r, i), h);
            for (int d = 0; d < test.dim; ++d) cache.set(at + d, normal(random));
          }
        }
      }
      return cache;
    }

    Case test;
    Batch batch;
    Owned q, key, value;
  };

  static Doubles reference_of(const World& world) {
    const RaggedBatch view = world.batch.view();
    const int dim = world.test.dim, heads = world.test.heads;
    const Doubles key = world.key.values(), value = world.value.values(), q = world.q.values();
    Doubles out(q.size());
    for (int r = 0; r < view.num_rows; ++r) {
      for (int t = view.row_start[r]; t < view.row_start[r + 1]; ++t) {
        const int visible = view.kv_len[r] - (view.row_start[r + 1] - t) + 1;
        for (int h = 0; h < heads; ++h) {
          const int64_t from = (int64_t{t} * heads + h) * dim;
          const int kv_head = h / (heads / world.test.kv_heads);
          Doubles weight(static_cast<size_t>(visible));
          double largest = -1e300, total = 0;
          for (int i = 0; i < visible; ++i) {
            const int64_t at = world.place(world.slot(r, i), kv_head);
            for (int d = 0; d < dim; ++d) weight[i] += q[from + d] * key[at + d];
            largest = std::max(largest, weight[i] *= kScale);
          }
          for (double& one : weight) total += one = std::exp(one - largest);
          for (int i = 0; i < visible; ++i) {
            const int64_t at = world.place(world.slot(r, i), kv_head);
            for (int d = 0; d < dim; ++d) out[from + d] += weight[i] / total * value[at + d];
          }
        }
      }
    }
    return out;
  }

  AttentionArgs args_of(const World& world) {
    const Case& test = world.test;
    return {.out = poisoned(DType::kBf16, {world.tokens(), int64_t{test.heads} * test.dim}),
            .q = put(world.q),
            .shape = {test.heads, test.kv_heads, test.dim, test.block_tokens},
            .cache = {put(world.key), put(world.value)},
            .scale = kScale};
  }
  Owned run(const World& world) {
    const AttentionArgs args = args_of(world);
    const RaggedBatch batch = put(world.batch.view());
    backend().attention(args, batch);
    const Owned out = get(args.out);
    backend().upload(args.out.data,
                     Owned::poisoned(DType::kBf16, {args.out.elements()}).view().data,
                     args.out.bytes());
    backend().attention(args, batch);
    EXPECT_TRUE(get(args.out).same_bits(out)) << "twice";
    return out;
  }
  void check(const Case& test, const Rows& rows) {
    SCOPED_TRACE(std::to_string(test.heads) + "/" + std::to_string(test.kv_heads) + " x " +
                 std::to_string(test.dim) + ", blocks of " + std::to_string(test.block_tokens) +
                 ", " + name_of(test.cache) + ", " + std::to_string(rows.tokens.size()) +
                 " rows, first " + std::to_string(rows.tokens[0]) + " after " +
                 std::to_string(rows.past[0]));
    const World world(test, rows);
    reference::expect_close(run(world), reference_of(world), kBf16Tolerance);
  }
};

TEST_F(Attention, MatchesTheReferenceOnTensorCores) {
  for (const Case& test : kFast) {
    for (const Rows& rows : kMixes) check(test, rows);
  }
}

TEST_F(Attention, MatchesTheReferenceForAnyShapeAndCache) {
  for (const Case& test : kGeneral) {
    for (const Rows& rows : kMixes) check(test, rows);
  }
}

TEST_F(Attention, SplitsLongRows) {
  check({4, 1, 64, 64, DType::kBf16}, {.tokens = {1}, .past = {4000}});
  check({32, 8, 64, 64, DType::kBf16}, {.tokens = {1, 1}, .past = {4000, 3001}});
  check({8, 8, 128, 64, DType::kBf16}, {.tokens = {1, 1, 1, 1}, .past = {4050, 1, 513, 1023}});
  check({4, 1, 64, 64, DType::kBf16}, {.tokens = {4, 70}, .past = {4000, 2000}});
  std::vector<int32_t> ones(80, 1), past(80);
  for (int r = 0; r < 80; ++r) past[r] = r * r % 997;
  check({16, 4, 64, 16, DType::kBf16}, {.tokens = ones, .past = past});
}

// Few rows are shared by several blocks each, how many depends on their number.
TEST_F(Attention, TakesAnyNumberOfRows) {
  for (const int rows : {2, 3, 4, 5, 8, 9, 16, 17, 33}) {
    std::vector<int32_t> ones(rows, 1), past(rows);
    for (int r = 0; r < rows; ++r) past[r] = r % 3 == 2 ? 0 : (r * 1009 + 15) % 1500;
    check({32, 8, 64, 64, DType::kBf16}, {.tokens = ones, .past = past});
    check({16, 8, 128, 32, DType::kBf16}, {.tokens = ones, .past = past});
  }
}

TEST_F(Attention, SeesWhatTheKernelBeforeWrote) {
  // An op writes the newest key and value of a row, the next attends to it: of rows that end
  // anywhere in what a warp takes at once, one after the other in one graph.
  const Case test = {4, 1, 64, 64, DType::kBf16};
  constexpr int64_t kHidden = 256;
  const Weight weight =
      pack(Owned::random(DType::kBf16, {test.dim, kHidden}, 7), WeightFormat::kBf16);
  const Tensor x[2] = {put(Owned::random(DType::kBf16, {1, kHidden}, 8)),
                       put(Owned::random(DType::kBf16, {1, kHidden}, 9))};
  struct Row {
    World world;
    AttentionArgs args;
    RaggedBatch batch;
    Tensor newest[2];
  };
  std::vector<Row> rows;
  for (const int past : {0, 1, 14, 15, 16, 17, 127, 128, 129, 1023, 1024, 2000}) {
    World world(test, {.tokens = {1}, .past = {past}});
    const AttentionArgs args = args_of(world);
    const RaggedBatch batch = put(world.batch.view());
    const int64_t at = world.place(world.slot(0, past), 0);
    const auto row_of = [&](const Tensor& cache) {
      return Tensor(static_cast<uint16_t*>(cache.data) + at, DType::kBf16, {1, test.dim});
    };
    rows.push_back(
        {std::move(world), args, batch, {row_of(args.cache.key), row_of(args.cache.value)}});
  }
  backend().begin_capture();
  for (const Row& row : rows) {
    for (int i = 0; i < 2; ++i) {
      backend().linear({.out = row.newest[i], .input = {.x = x[i]}, .weight = weight});
    }
    backend().attention(row.args, row.batch);
  }
  const auto graph = backend().end_capture();
  const Owned poison = Owned::poisoned(DType::kBf16, {1, test.dim});
  for (const Row& row : rows) {
    for (const Tensor& newest : row.newest) {
      backend().upload(newest.data, poison.view().data, newest.bytes());
    }
  }
  graph->replay();
  for (Row& row : rows) {
    const auto bring_back = [&](Owned& to, const Tensor& cache) {
      backend().download(to.view().data, cache.data, cache.bytes());
    };
    bring_back(row.world.key, row.args.cache.key);
    bring_back(row.world.value, row.args.cache.value);
    reference::expect_close(get(row.args.out), reference_of(row.world), kBf16Tolerance);
  }
}

TEST_F(Attention, GivesARowItsBitsWhateverTheOtherRowsHold) {
  const Case test = {8, 2, 64, 16, DType::kBf16};
  const auto first_row = [&](std::vector<int32_t> past) {
    const World world(test, {.tokens = {1, 1, 1}, .past = std::move(past)});
    Owned out = run(world);
    std::vector<uint16_t> bits(static_cast<size_t>(test.heads) * test.dim);
    std::memcpy(bits.data(), out.view().data, bits.size() * 2);
    return bits;
  };
  const auto bits = first_row({700, 1, 1});
  EXPECT_EQ(first_row({700, 1000, 3}), bits);
  EXPECT_EQ(first_row({700, 15, 900}), bits);
}

TEST_F(Attention, IsZeroWithoutKeys) {
  for (const Case& test : {kFast[0], kFast[4], kGeneral[0]}) {
    const World world(test, {.tokens = {1, 1}, .past = {0, 0}});
    const std::vector<int32_t> no_keys = {0, 0};
    RaggedBatch host = world.batch.view();
    host.kv_len = no_keys.data();
    const AttentionArgs args = args_of(world);
    backend().attention(args, put(host));
    EXPECT_EQ(get(args.out).values(), Doubles(static_cast<size_t>(args.out.elements()), 0.0));
  }
}

// A device with fewer multiprocessors and memory for fewer pieces of a row than there are; as the
// one there is, and without clusters.
TEST_F(Attention, CutsForTheDeviceAndItsMemoryAndLeavesCountersZero) {
  struct Small {
    int multiprocessors;
    int64_t pieces;
  };
  int major = 0;
  int minor = 0;
  CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
  CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0));
  const auto check_on = [&](const World& world, const Small& small, int capability) {
    const RaggedBatch view = world.batch.view();
    const AttentionArgs args = args_of(world);
    const int64_t heads = int64_t{view.num_rows} * world.test.heads;
    const int64_t bytes = int64_t{cuda::Stream::kCounters} * 4 + small.pieces * heads * 80 * 4;
    const cuda::Stream on = {.stream = nullptr,
                             .multiprocessors = small.multiprocessors,
                             .capability = capability,
                             .shared_bytes = 99 << 10,
                             .workspace = memory(bytes),
                             .workspace_bytes = bytes};
    backend().upload(args.out.data,
                     Owned::poisoned(DType::kBf16, {args.out.elements()}).view().data,
                     args.out.bytes());
    const RaggedBatch batch = put(view);
    backend().synchronize();
    cuda::attention(on, args, batch);
    CUDA_CHECK(cudaDeviceSynchronize());
    reference::expect_close(get(args.out), reference_of(world), kBf16Tolerance);
    std::vector<uint32_t> counters(cuda::Stream::kCounters, 1);
    backend().download(counters.data(), on.counters(), cuda::Stream::kCounters * 4);
    EXPECT_EQ(counters, std::vector<uint32_t>(cuda::Stream::kCounters, 0));
  };
  const World few({32, 8, 64, 64, DType::kBf16}, {.tokens = {1, 1, 1}, .past = {4000, 77, 1500}});
  // More pieces than a device of 16 multiprocessors takes at once.
  const World longest({8, 8, 64, 256, DType::kBf16}, {.tokens = {1, 1}, .past = {15999, 12345}});
  for (const int capability : {80, 10 * major + minor}) {
    for (const int64_t pieces : {0, 1, 3}) check_on(few, {132, pieces}, capability);
    check_on(longest, {16, 40}, capability);
    check_on(longest, {4, 40}, capability);
  }
}

}  // namespace
}  // namespace switchyard::gpu
