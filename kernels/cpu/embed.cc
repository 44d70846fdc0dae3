// Rows of the embedding table, widened. bytes: T rows of the table read, T * H * 4 written.
#include "kernels/cpu/embed.h"

#include <algorithm>

#include "kernels/cpu/convert.h"

namespace switchyard::cpu {
namespace {

DType dtype_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return DType::kF32;
    case WeightFormat::kF16:
      return DType::kF16;
    case WeightFormat::kBf16:
      return DType::kBf16;
    case WeightFormat::kFp8:
    case WeightFormat::kInt8:
    case WeightFormat::kInt4:
      break;
  }
  CHECK(false);
}

}  // namespace

void embed(ThreadPool& pool, const EmbedArgs& args, const RaggedBatch& batch) {
  const Weight& table = args.table;
  const DType dtype = dtype_of(table.format);
  pool.parallel_for(batch.num_tokens, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      int64_t token = batch.token[t];
      float* out = args.out.f32() + t * table.cols;
      if (token < 0) {
        token = args.previous[-1 - token];
        if (token < 0) {  // the row's last step found nothing to sample: its request is failing
          std::fill_n(out, table.cols, 0.0f);
          continue;
        }
      }
      CHECK(token < table.rows);
      widen(static_cast<const char*>(table.data) + token * table.cols * bytes_of(dtype), dtype,
            table.cols, out);
    }
  });
}

}  // namespace switchyard::cpu
