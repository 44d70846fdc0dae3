#include "engine/weights/stored_values.h"

#include <bit>
#include <cstring>

namespace switchyard {
namespace {

float f32_of_bf16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

// IEEE half: 1 sign, 5 exponent, 10 fraction bits.
float f32_of_f16(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000U} << 16;
  const uint32_t magnitude = bits & 0x7fffU;
  if (magnitude < 0x0400) {  // zero or subnormal: fraction * 2^-24
    const float value = static_cast<float>(magnitude) * 0x1p-24F;
    return sign != 0 ? -value : value;
  }
  if (magnitude >= 0x7c00) return std::bit_cast<float>(sign | 0x7f800000U | (magnitude << 13));
  return std::bit_cast<float>(sign | ((magnitude << 13) + (uint32_t{127 - 15} << 23)));
}

}  // namespace

std::optional<DType> float_type(ElementType type) {
  switch (type) {
    case ElementType::kF32:
      return DType::kF32;
    case ElementType::kF16:
      return DType::kF16;
    case ElementType::kBf16:
      return DType::kBf16;
    default:
      return std::nullopt;
  }
}

std::optional<WeightFormat> weight_format(ElementType type) {
  if (type == ElementType::kF8E4m3) return WeightFormat::kFp8;
  const std::optional<DType> plain = float_type(type);
  if (!plain) return std::nullopt;
  return format_of(*plain);
}

std::vector<float> f32_values(const StoredTensor& tensor) {
  const int64_t each = bytes_of(tensor.type);
  std::vector<float> values(static_cast<size_t>(tensor.bytes / each));
  if (tensor.type == ElementType::kF32) {
    if (!values.empty()) {
      std::memcpy(values.data(), tensor.data, static_cast<size_t>(tensor.bytes));
    }
    return values;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, tensor.data + static_cast<int64_t>(i) * each, sizeof(bits));
    values[i] = tensor.type == ElementType::kBf16 ? f32_of_bf16(bits) : f32_of_f16(bits);
  }
  return values;
}

std::string text_of(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t size : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(size);
  }
  return text + "]";
}

}  // namespace switchyard
