// Lays out the workspace and takes as many rows at a time as fit there.
#include "kernels/cuda/sample.h"

#include <algorithm>
#include <utility>

#include "kernels/cuda/sample_call.h"

namespace switchyard::cuda {
namespace {

constexpr int kScanWarps = 8;
constexpr int kRowsAtOnce = 1024;

// Hands out workspace, 16-byte aligned.
class Carver {
 public:
  explicit Carver(const Stream& on)
      : next_(static_cast<char*>(on.partials())), left_(on.partial_bytes()) {}
  template <typename T>
  T* take(int64_t count) {
    const int64_t bytes = ceil_div(count * static_cast<int64_t>(sizeof(T)), 16) * 16;
    CHECK(bytes <= left_);
    left_ -= bytes;
    return reinterpret_cast<T*>(std::exchange(next_, next_ + bytes));
  }
  [[nodiscard]] int64_t left() const { return left_; }

 private:
  char* next_;
  int64_t left_;
};

}  // namespace

void sample(const Stream& on, const SampleArgs& args) {
  const int64_t rows = args.logits.dim(0);
  const int64_t vocabulary = args.logits.dim(1);
  CHECK(vocabulary <= kMaxVocabulary);
  const int64_t chunks = ceil_div(vocabulary, kSampleChunk);
  const bool vectors =
      vocabulary % 4 == 0 && reinterpret_cast<uintptr_t>(args.logits.data) % 16 == 0;
  const int64_t tops = args.top_token.dim(1);
  CHECK(tops <= kMaxTops);

  Carver carver(on);
  auto* replaced = carver.take<float>(args.num_edits);
  const int64_t most_blocks = ceil_div(chunks, kScanWarps);
  const auto row_bytes =
      static_cast<int64_t>(most_blocks * sizeof(SamplePart) + sizeof(SampleSummary) +
                           chunks * (8 + 4 + 4) + kBins * (8 + 4));
  const int64_t at_once = std::min({rows, int64_t{kRowsAtOnce}, (carver.left() - 256) / row_bytes});
  if (rows == 0) return;
  CHECK(at_once > 0);
  SampleCall call = {};
  call.vocabulary = static_cast<int>(vocabulary);
  call.chunks = static_cast<int>(chunks);
  call.vectors = vectors;
  call.edits = args.edits;
  call.tops = static_cast<int>(tops);
  call.counter = on.counters();
  call.replaced = replaced;
  call.summary = carver.take<SampleSummary>(at_once);
  call.chunk_mass = carver.take<uint64_t>(at_once * chunks);
  call.bin_mass = carver.take<uint64_t>(at_once * kBins);
  call.bin_count = carver.take<uint32_t>(at_once * kBins);
  call.chunk_largest = carver.take<float>(at_once * chunks);
  call.raw_largest = carver.take<float>(at_once * chunks);
  call.part = carver.take<SamplePart>(at_once * most_blocks);
  for (int64_t first = 0; first < rows; first += at_once) {
    const int64_t count = std::min(at_once, rows - first);
    call.rows = static_cast<int>(count);
    call.logits = args.logits.f32() + first * vocabulary;
    call.rule = args.rows + first;
    call.token = args.token.i32() + first;
    call.logprob = args.logprob.f32() + first;
    call.top_token = args.top_token.i32() + first * tops;
    call.top_logprob = args.top_logprob.f32() + first * tops;
    // Eight blocks a multiprocessor, but a chunk for each warp.
    const int64_t blocks = std::clamp<int64_t>(8 * on.multiprocessors / count, 1, most_blocks);
    scan_rows(on, call, static_cast<int>(blocks));
    draw_rows(on, call);
  }
}

}  // namespace switchyard::cuda
