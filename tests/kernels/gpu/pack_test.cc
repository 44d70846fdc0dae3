// Packed bytes, read by the layout's own words (kernels/cuda/tile_layout.h), are the numbers that
// the rules of each format give.
#include "kernels/cuda/tile_layout.h"
#include "tests/kernels/gpu/device.h"

namespace switchyard::gpu {
namespace {

float value_of_fp8(uint8_t code) {
  const int exponent = (code >> 3) & 15;
  const float magnitude = exponent == 0
                              ? std::ldexp(static_cast<float>(code & 7), -9)
                              : std::ldexp(1 + static_cast<float>(code & 7) / 8, exponent - 7);
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

// Element (row, col) of the packed bytes.
double unpacked(const std::vector<uint8_t>& data,
                const std::vector<uint8_t>& scale,
                const Weight& weight,
                int64_t row,
                int64_t col) {
  const int64_t tile = row / 16 * cuda::col_tiles(weight.cols) + col / 64;
  const int64_t r = row % 16;
  const int64_t c = col % 16;
  const int64_t j = col % 64 / 16;
  const int64_t lane = r % 8 * 4 + c % 8 / 2;
  const int64_t v = c % 2 + r / 8 * 2 + c / 8 * 4;
  const uint8_t* bytes = data.data() + tile * cuda::tile_bytes(weight.format);
  const auto scale_of = [&]() -> double {
    const int64_t groups = cuda::groups_of(weight.group, weight.cols);
    const int64_t at = ((row / 16 * groups + col / weight.group) * 8 + r % 8) * 2 + r / 8;
    if (weight.format == WeightFormat::kFp8) {
      float value = 0;
      std::memcpy(&value, scale.data() + at * 4, 4);
      return value;
    }
    uint16_t bits = 0;
    std::memcpy(&bits, scale.data() + at * 2, 2);
    return reference::widen_bits(bits, DType::kF16);
  };
  if (weight.format == WeightFormat::kBf16) {
    uint16_t bits = 0;
    std::memcpy(&bits, bytes + j * 512 + lane * 16 + v * 2, 2);
    return reference::widen_bits(bits, DType::kBf16);
  }
  if (weight.format == WeightFormat::kInt4) {
    uint32_t word = 0;
    std::memcpy(&word, bytes + lane * 16 + j * 4, 4);
    return (static_cast<int>(word >> (v / 2 * 4 + v % 2 * 16) & 15) - 8) * scale_of();
  }
  const uint8_t code = bytes[j / 2 * 512 + lane * 16 + j % 2 * 8 + v];
  return scale_of() *
         (weight.format == WeightFormat::kInt8 ? static_cast<int8_t>(code) : value_of_fp8(code));
}

class Pack : public Device {
 protected:
  std::vector<uint8_t> bytes_at(const void* device, int64_t count) {
    std::vector<uint8_t> bytes(static_cast<size_t>(count));
    backend().download(bytes.data(), device, count);
    return bytes;
  }
  Doubles packed_and_read(const Owned& source, WeightFormat format, ScaleChoice scales) {
    const Weight weight = pack(source, format, scales);
    const WeightBytes size = backend().weight_bytes(format, weight.group, weight.rows, weight.cols);
    const std::vector<uint8_t> data = bytes_at(weight.data, size.data);
    const std::vector<uint8_t> scale = bytes_at(weight.scale, size.scale);
    Doubles values;
    for (int64_t row = 0; row < weight.rows; ++row) {
      for (int64_t col = 0; col < weight.cols; ++col) {
        values.push_back(unpacked(data, scale, weight, row, col));
      }
    }
    return values;
  }
};

TEST_F(Pack, KeepsWhatTheFormatRoundsTo) {
  for (const WeightFormat format : kFormats) {
    for (const auto& [rows, cols] : {std::pair{1, 1}, {16, 64}, {19, 77}, {33, 128}, {48, 320}}) {
      for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
        SCOPED_TRACE(std::string(name_of(format)) + " from " + name_of(dtype) + ", " +
                     std::to_string(rows) + "x" + std::to_string(cols));
        const Owned source = Owned::random(dtype, {rows, cols}, 5, 0.1);
        EXPECT_EQ(packed_and_read(source, format, ScaleChoice::kRound), as_stored(source, format));
      }
    }
  }
}

TEST_F(Pack, KeepsZerosAndTheLargest) {
  for (const WeightFormat format : kFormats) {
    Owned source(DType::kF32, {2, 128});
    for (int i = 0; i < 256; ++i) source.set(i, i < 128 ? 0.0F : i == 130 ? -2.0F : 0.25F);
    const Doubles values = packed_and_read(source, format, ScaleChoice::kRound);
    EXPECT_EQ(values[5], 0) << name_of(format);
    EXPECT_NEAR(values[130], -2, 2e-2) << name_of(format);
  }
}

TEST_F(Pack, SearchesScalesWithASmallerError) {
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    const Owned source = Owned::random(DType::kF32, {32, 256}, 9);
    const auto error = [&](ScaleChoice scales) {
      const Doubles values = packed_and_read(source, format, scales);
      double sum = 0;
      for (size_t i = 0; i < values.size(); ++i) {
        sum += std::pow(values[i] - source.at(static_cast<int64_t>(i)), 2);
      }
      return sum;
    };
    const double rounded = error(ScaleChoice::kRound);
    EXPECT_LE(error(ScaleChoice::kSearch), rounded) << name_of(format);
    if (format == WeightFormat::kInt4) {
      EXPECT_LT(error(ScaleChoice::kSearch), 0.95 * rounded);
    }
  }
}

// Numbers that were codes of the given scales become the same codes.
TEST_F(Pack, KeepsTheCodesOfGivenScales) {
  const Owned scale = Owned::random(DType::kF32, {19, 3}, 3);  // 77 columns: 32, 32 and 13
  Owned source(DType::kF32, {19, 77});
  for (int64_t i = 0; i < 19 * 77; ++i) {
    const auto code = static_cast<uint8_t>(i * 37 % 0x7f | (i % 2) << 7);
    source.set(i, value_of_fp8(code) * static_cast<float>(scale.at(i / 77 * 3 + i % 77 / 32)));
  }
  const Weight weight = pack(source, WeightFormat::kFp8);
  backend().pack({.out = weight, .source = put(source), .given_scale = put(scale)});
  const WeightBytes size = backend().weight_bytes(WeightFormat::kFp8, weight.group, 19, 77);
  const std::vector<uint8_t> data = bytes_at(weight.data, size.data);
  const std::vector<uint8_t> scales = bytes_at(weight.scale, size.scale);
  for (int64_t i = 0; i < 19 * 77; ++i) {
    ASSERT_EQ(static_cast<float>(unpacked(data, scales, weight, i / 77, i % 77)),
              static_cast<float>(source.at(i)))
        << i;
  }
}

TEST_F(Pack, FillsWithNormalNumbers) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    const Tensor out = poisoned(dtype, {301, 333});
    backend().fill_normal({.out = out, .seed = 7, .deviation = 0.5F});
    const Owned first = get(out);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < out.elements(); ++i) {
      ASSERT_TRUE(std::isfinite(first.at(i)));
      sum += first.at(i);
      squares += first.at(i) * first.at(i);
    }
    const auto count = static_cast<double>(out.elements());
    EXPECT_NEAR(sum / count, 0, 0.01);
    EXPECT_NEAR(std::sqrt(squares / count), 0.5, 0.01);
    backend().fill_normal({.out = out, .seed = 7, .deviation = 0.5F});
    EXPECT_TRUE(get(out).same_bits(first));
    backend().fill_normal({.out = out, .seed = 8, .deviation = 0.5F});
    EXPECT_FALSE(get(out).same_bits(first));
  }
}

}  // namespace
}  // namespace switchyard::gpu
