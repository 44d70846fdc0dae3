// One block copies one row of the table. bytes: T rows read, 2 * T * H written.
#include "kernels/cuda/embed.h"

#include "kernels/cuda/bf16_vector.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kThreads = 256;

struct Lookup {
  __nv_bfloat16* out;
  int64_t vocabulary, width;
  const int32_t* token;
  const int32_t* previous;
};

__device__ __forceinline__ float widened(float value) { return value; }
__device__ __forceinline__ float widened(__half value) { return __half2float(value); }
__device__ __forceinline__ float widened(__nv_bfloat16 value) { return __bfloat162float(value); }

template <typename Stored, int kCount>
__global__ void __launch_bounds__(kThreads) embed_rows(Lookup args, const Stored* table) {
  let_next_start();
  wait_for_previous();
  int64_t token = args.token[blockIdx.x];
  if (token < 0) token = args.previous[-1 - token];
  if (token >= args.vocabulary) __trap();  // as the CPU's CHECK: never by what a caller can send
  __nv_bfloat16* out = args.out + blockIdx.x * args.width;
  for (int64_t i = int64_t{threadIdx.x} * kCount; i < args.width; i += int64_t{kThreads} * kCount) {
    float value[kCount] = {};
    if (token >= 0) {
      // Aligned as far as the table's rows are: kCount is 8 only where it is whole vectors.
      struct alignas(kCount == 8 ? 16 : sizeof(Stored)) Piece {
        Stored element[kCount];
      };
      const Piece piece = *reinterpret_cast<const Piece*>(table + token * args.width + i);
#pragma unroll
      for (int j = 0; j < kCount; ++j) value[j] = widened(piece.element[j]);
    }
    Channels<kCount>::store(out + i, value);
  }
}

template <typename Stored>
void embed_from(const Stream& on, const Lookup& args, const void* table, int64_t tokens) {
  const auto* rows = static_cast<const Stored*>(table);
  const auto blocks = static_cast<unsigned>(tokens);
  if (in_eights(args.width, {args.out, table})) {
    launch(on, embed_rows<Stored, 8>, blocks, kThreads, 0, args, rows);
  } else {
    launch(on, embed_rows<Stored, 1>, blocks, kThreads, 0, args, rows);
  }
}

}  // namespace

void embed(const Stream& on, const EmbedArgs& args, const RaggedBatch& batch) {
  const Lookup lookup = {static_cast<__nv_bfloat16*>(args.out.data), args.table.rows,
                         args.table.cols, batch.token, args.previous};
  switch (args.table.format) {
    case WeightFormat::kF32:
      return embed_from<float>(on, lookup, args.table.data, batch.num_tokens);
    case WeightFormat::kF16:
      return embed_from<__half>(on, lookup, args.table.data, batch.num_tokens);
    case WeightFormat::kBf16:
      return embed_from<__nv_bfloat16>(on, lookup, args.table.data, batch.num_tokens);
    case WeightFormat::kFp8:
    case WeightFormat::kInt8:
    case WeightFormat::kInt4:
      CHECK(false);  // Backend::embed
  }
}

}  // namespace switchyard::cuda
