// Threads split rows. flops: about 4 a number, 200 with a search of scales. bytes: the source once.
#include "kernels/cpu/pack.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "kernels/cpu/convert.h"
#include "kernels/cpu/quantise.h"

namespace switchyard::cpu {
namespace {

DType dtype_of(WeightFormat format) {
  CHECK(!is_quantised(format));
  return format == WeightFormat::kF32   ? DType::kF32
         : format == WeightFormat::kF16 ? DType::kF16
                                        : DType::kBf16;
}

void store_scale(const PackArgs& args, int64_t index, float scale) {
  auto* scales = static_cast<char*>(const_cast<void*>(args.out.scale));
  if (args.out.format == WeightFormat::kFp8) {
    std::memcpy(scales + index * 4, &scale, 4);
  } else {
    const uint16_t bits = to_f16(scale);
    std::memcpy(scales + index * 2, &bits, 2);
  }
}

// The last byte of an odd row is completed with a code of 0.
void store_int4(const uint8_t* codes, int64_t count, uint8_t* to) {
  for (int64_t i = 0; i < count; i += 2) {
    const int low = static_cast<int8_t>(codes[i]) + 8;
    const int high = i + 1 < count ? static_cast<int8_t>(codes[i + 1]) + 8 : 8;
    to[i / 2] = static_cast<uint8_t>(low | high << 4);
  }
}

void pack_row(const PackArgs& args, int64_t row, std::span<const float> values) {
  const Weight& out = args.out;
  const auto group = static_cast<size_t>(out.group);
  const auto groups = static_cast<int64_t>((values.size() + group - 1) / group);
  auto* to = static_cast<uint8_t*>(const_cast<void*>(out.data)) +
             bytes_of_rows(out.format, out.group, out.cols, row).data;
  std::array<uint8_t, 128> codes;
  for (int64_t g = 0; g < groups; ++g) {
    const size_t begin = static_cast<size_t>(g) * group;
    const auto part = values.subspan(begin, std::min(group, values.size() - begin));
    const int64_t index = row * groups + g;
    const float scale = args.given_scale.empty() ? choose_scale(out.format, args.scales, part)
                                                 : args.given_scale.f32()[index];
    encode(out.format, scale, part, codes.data());
    store_scale(args, index, scale);
    if (out.format == WeightFormat::kInt4) {
      store_int4(codes.data(), static_cast<int64_t>(part.size()), to + begin / 2);
    } else {
      std::copy_n(codes.data(), part.size(), to + begin);
    }
  }
}

// A random-looking function of (seed, index): multiply-and-shift rounds after C. Wellons'
// lowbias32.
uint32_t scramble(uint32_t x) {
  x = (x ^ x >> 16) * 0x7feb352dU;
  x = (x ^ x >> 15) * 0x846ca68bU;
  return x ^ x >> 16;
}

// Numbers [begin, begin + count), which share the upper half of their index. Simple loops, each of
// which the compiler can turn into vectors.
void draw(const NormalArgs& args, int64_t begin, int64_t count, float* values) {
  constexpr float kMean = 4 * 255.0F / 2;
  constexpr float kDeviation = 147.8F;  // 256 / sqrt(3)
  const float factor = args.deviation / kDeviation;
  const uint32_t first =
      scramble(static_cast<uint32_t>(args.seed) ^ scramble(static_cast<uint32_t>(begin >> 32)));
  const auto second = static_cast<uint32_t>(args.seed >> 32);
  const auto from = static_cast<uint32_t>(begin);
  for (int64_t i = 0; i < count; ++i) {
    uint32_t x = ((from + static_cast<uint32_t>(i)) * 0x9e3779b1U) ^ first;
    x = scramble((x ^ x >> 16) * 0x7feb352dU ^ second);
    const uint32_t pairs = (x & 0xff00ff) + (x >> 8 & 0xff00ff);
    const auto sum = static_cast<int32_t>((pairs & 0xffff) + (pairs >> 16));
    values[i] = (static_cast<float>(sum) - kMean) * factor;
  }
}

void store(const NormalArgs& args, int64_t begin, int64_t count, const float* values) {
  if (args.out.dtype == DType::kF32) {
    std::copy_n(values, count, args.out.f32() + begin);
    return;
  }
  uint16_t* to = static_cast<uint16_t*>(args.out.data) + begin;
  for (int64_t i = 0; i < count; ++i) {
    const auto bits = std::bit_cast<uint32_t>(values[i]);
    to[i] = static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
}

}  // namespace

WeightBytes bytes_of_rows(WeightFormat format, int group, int64_t cols, int64_t rows) {
  const int64_t data = matrix_bytes(format, 0, rows, cols);
  return {.data = data, .scale = matrix_bytes(format, group, rows, cols) - data};
}

void pack(ThreadPool& pool, const PackArgs& args) {
  const int64_t cols = args.out.cols;
  const int64_t source_row = cols * bytes_of(args.source.dtype);
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, cols));
  pool.parallel_for(args.out.rows, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> values(static_cast<size_t>(cols));
    for (int64_t row = begin; row < end; ++row) {
      widen(static_cast<const char*>(args.source.data) + row * source_row, args.source.dtype, cols,
            values.data());
      if (is_quantised(args.out.format)) {
        pack_row(args, row, values);
      } else {
        const DType dtype = dtype_of(args.out.format);
        narrow(values.data(), dtype, cols,
               static_cast<char*>(const_cast<void*>(args.out.data)) + row * cols * bytes_of(dtype));
      }
    }
  });
}

void fill_normal(ThreadPool& pool, const NormalArgs& args) {
  constexpr int64_t kPiece = 1024;  // divides 2^32, so that a piece shares the upper half
  pool.parallel_for(args.out.elements(), 64 * kPiece, [&](int64_t begin, int64_t end) {
    std::array<float, kPiece> values;
    for (int64_t i = begin; i < end; i += kPiece) {
      const int64_t count = std::min(end - i, kPiece);
      draw(args, i, count, values.data());
      store(args, i, count, values.data());
    }
  });
}

}  // namespace switchyard::cpu
