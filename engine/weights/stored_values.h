// What the bytes of stored tensors mean: types as the kernels call them, values as f32.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/weights/safetensors.h"
#include "kernels/base/weight.h"

namespace switchyard {

// F32, F16 and BF16; nothing for other types.
std::optional<DType> float_type(ElementType type);

// What a matrix of that type is multiplied as if nothing else is asked for: the floats and F8_E4M3.
std::optional<WeightFormat> weight_format(ElementType type);

// The values of a tensor of float type, whatever its alignment.
std::vector<float> f32_values(const StoredTensor& tensor);

// "[2, 3]".
std::string text_of(const std::vector<int64_t>& shape);

}  // namespace switchyard
