// The whole qkv op on the GPU: heads of few tokens in one kernel, of many in several; what lands in
// the cache.
#include "tests/kernels/gpu/device.h"

namespace switchyard::gpu {
namespace {

using reference::Batch;

struct Case {
  int heads, kv_heads, dim;
  int64_t width;
  DType cache;
  bool gains = true;
};
constexpr Case kCases[] = {{8, 2, 32, 256, DType::kBf16},  {4, 1, 64, 128, DType::kBf16},
                           {32, 8, 64, 512, DType::kBf16}, {6, 2, 12, 72, DType::kF32},
                           {4, 2, 128, 64, DType::kF16},   {3, 1, 32, 96, DType::kF32, false}};

// [tokens, heads * dim] projected, normed by head and rotated.
Doubles heads_of(const Doubles& projected,
                 const Doubles& gain,
                 int dim,
                 const RaggedBatch& batch,
                 const Doubles& inv_frequency,
                 bool rotate) {
  Doubles out = gain.empty() ? projected : reference::norm(projected, gain, 1e-6);
  if (!rotate) return out;
  const size_t width = projected.size() / static_cast<size_t>(batch.num_tokens);
  for (int t = 0; t < batch.num_tokens; ++t) {
    for (size_t h = 0; h < width; h += static_cast<size_t>(dim)) {
      double* head = out.data() + static_cast<size_t>(t) * width + h;
      for (int i = 0; i < dim / 2; ++i) {
        const double angle = batch.position[t] * inv_frequency[static_cast<size_t>(i)];
        const double a = head[i], b = head[i + dim / 2];
        head[i] = a * std::cos(angle) - b * std::sin(angle);
        head[i + dim / 2] = b * std::cos(angle) + a * std::sin(angle);
      }
    }
  }
  return out;
}

class GpuQkv : public Device {
 protected:
  void check(const Case& test, WeightFormat format, const reference::Rows& rows) {
    constexpr int kBlockTokens = 16;
    const Batch host(rows, kBlockTokens);
    const RaggedBatch view = host.view();
    const int64_t tokens = view.num_tokens;
    const int64_t q_width = int64_t{test.heads} * test.dim,
                  kv_width = int64_t{test.kv_heads} * test.dim;
    const double spread = 1 / std::sqrt(static_cast<double>(test.width));
    const Owned x = Owned::random(DType::kBf16, {tokens, test.width}, 1);
    const Owned gain = Owned::random(DType::kF32, {test.width}, 2);
    const Owned q_gain = Owned::random(DType::kF32, {test.dim}, 3);
    const Owned k_gain = Owned::random(DType::kF32, {test.dim}, 4);
    const Owned q_proj = Owned::random(DType::kF32, {q_width, test.width}, 5, spread);
    const Owned k_proj = Owned::random(DType::kF32, {kv_width, test.width}, 6, spread);
    const Owned v_proj = Owned::random(DType::kF32, {kv_width, test.width}, 7, spread);
    Owned inv_frequency(DType::kF32, {test.dim / 2});
    for (int i = 0; i < test.dim / 2; ++i) {
      inv_frequency.set(i, static_cast<float>(std::pow(1e4, -2.0 * i / test.dim)));
    }
    const int64_t blocks = 1 + static_cast<int64_t>(rows.tokens.size()) * Batch::kBlocksPerRow;
    const Tensor key = poisoned(test.cache, {blocks, test.kv_heads, kBlockTokens, test.dim});
    const Tensor value = poisoned(test.cache, {blocks, test.kv_heads, kBlockTokens, test.dim});
    const Tensor q = poisoned(DType::kBf16, {tokens, q_width});
    backend().qkv({.q = q,
                   .input = {.x = put(x),
                             .gain = put(gain),
                             .epsilon = 1e-5F,
                             .normed = poisoned(DType::kBf16, {tokens, test.width})},
                   .q_proj = pack(q_proj, format),
                   .k_proj = pack(k_proj, format),
                   .v_proj = pack(v_proj, format),
                   .q_gain = test.gains ? put(q_gain) : Tensor{},
                   .k_gain = test.gains ? put(k_gain) : Tensor{},
                   .head_epsilon = 1e-6F,
                   .inv_frequency = put(inv_frequency),
                   .shape = {.heads = test.heads,
                             .kv_heads = test.kv_heads,
                             .head_dim = test.dim,
                             .block_tokens = kBlockTokens},
                   .cache = {.key = key, .value = value},
                   .kv_work = poisoned(DType::kBf16, {tokens, 2 * kv_width})},
                  put(view));

    const Doubles input = reference::norm(x.values(), gain.values(), 1e-5);
    const auto project = [&](const Owned& proj) {
      return reference::product(input, as_stored(proj, format), static_cast<size_t>(test.width));
    };
    const Doubles none;
    expect_close(get(q),
                 heads_of(project(q_proj), test.gains ? q_gain.values() : none, test.dim, view,
                          inv_frequency.values(), true),
                 2 * kBf16Tolerance);
    expect_cached(get(key), test, view,
                  heads_of(project(k_proj), test.gains ? k_gain.values() : none, test.dim, view,
                           inv_frequency.values(), true));
    expect_cached(get(value), test, view, project(v_proj));
  }

 private:
  static void expect_cached(const Owned& cache,
                            const Case& test,
                            const RaggedBatch& batch,
                            const Doubles& want) {
    const int64_t block_tokens = cache.view().dim(2);
    Owned got(DType::kF32, {batch.num_tokens, int64_t{test.kv_heads} * test.dim});
    int64_t place = 0;
    for (int t = 0; t < batch.num_tokens; ++t) {
      const int64_t slot = batch.kv_slot[t];
      for (int64_t h = 0; h < test.kv_heads; ++h) {
        const int64_t from =
            ((slot / block_tokens * test.kv_heads + h) * block_tokens + slot % block_tokens) *
            test.dim;
        for (int d = 0; d < test.dim; ++d) {
          got.set(place++, static_cast<float>(cache.at(from + d)));
        }
      }
    }
    expect_close(got, want, 2 * kBf16Tolerance);
  }
};

TEST_F(GpuQkv, FillsQueriesAndCache) {
  for (const Case& test : kCases) {
    for (const WeightFormat format : {WeightFormat::kBf16, WeightFormat::kInt4}) {
      for (const reference::Rows& rows :
           {reference::Rows{{1}, {0}}, reference::Rows{{1, 1, 1}, {5, 16, 100}},
            reference::Rows{{9, 1, 2}, {0, 31, 7}}, reference::Rows{{40, 1, 30}, {3, 0, 15}}}) {
        SCOPED_TRACE(std::to_string(test.heads) + " heads of " + std::to_string(test.dim) + ", " +
                     std::to_string(rows.tokens[0]) + " tokens, " + name_of(format));
        check(test, format, rows);
      }
    }
  }
}

}  // namespace
}  // namespace switchyard::gpu
