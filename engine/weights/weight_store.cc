#include "engine/weights/weight_store.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

namespace switchyard {
namespace {

// The types that weights can be of, as the kernels call them.
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

WeightFormat format_of(const StoredTensor& tensor) { return format_of(*float_type(tensor.type)); }

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

// The values of a tensor of float type, whatever its alignment.
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

std::string expert_name(const ExpertRequest& request, int64_t expert) {
  const char* matrix = request.which == ExpertMatrix::kGate ? ".w1.weight"
                       : request.which == ExpertMatrix::kUp ? ".w3.weight"
                                                            : ".w2.weight";
  return std::string(request.prefix) + "." + std::to_string(expert) + matrix;
}

// Without the addresses of the matrices.
ExpertWeight expert_shape(const ExpertRequest& request) {
  const bool down = request.which == ExpertMatrix::kDown;
  return {.data = nullptr,
          .format = WeightFormat::kF32,
          .experts = request.experts,
          .rows = down ? request.hidden : request.width,
          .cols = down ? request.width : request.hidden};
}

}  // namespace

WeightStore::WeightStore(std::unique_ptr<TensorSource> source, Backend& backend)
    : source_(std::move(source)), backend_(&backend) {
  CHECK(source_ != nullptr);
}

Result<WeightStore> WeightStore::open(const std::filesystem::path& folder, Backend& backend) {
  Result<std::unique_ptr<TensorSource>> source = open_safetensors(folder);
  if (!source) return source.status();
  return WeightStore(*std::move(source), backend);
}

Status WeightStore::failure(Code code, std::string_view name, std::string_view what) const {
  return {code, source_->origin(name), ": tensor '", name, "' ", what};
}

Result<StoredTensor> WeightStore::take(std::string_view name,
                                       TensorRole role,
                                       std::span<const Shape> shapes) {
  Result<StoredTensor> tensor =
      source_->take({.name = name, .shape = shapes.front(), .role = role});
  if (!tensor) return tensor.status();
  if (std::find(shapes.begin(), shapes.end(), tensor->shape) == shapes.end()) {
    return failure(Code::kInvalidArgument, name,
                   "is " + text_of(tensor->shape) + ", should be " + text_of(shapes.front()));
  }
  if (!float_type(tensor->type)) {
    return failure(Code::kInvalidArgument, name,
                   "is of type " + std::string(name_of(tensor->type)) + ", not F32, F16 or BF16");
  }
  return tensor;
}

Result<void*> WeightStore::upload(std::string_view name, const void* data, int64_t bytes) {
  Buffer buffer = backend_->allocate(bytes);
  if (buffer.empty()) {
    return failure(Code::kResourceExhausted, name,
                   "does not fit: " + std::to_string(bytes) + " bytes");
  }
  backend_->upload(buffer.data(), data, bytes);
  void* memory = buffer.data();
  buffers_.push_back(std::move(buffer));
  return memory;
}

Result<const std::byte*> WeightStore::place(std::string_view name, const StoredTensor& tensor) {
  const auto known = placed_.find(name);
  if (known != placed_.end()) return known->second;
  const std::byte* data = tensor.data;
  if (reinterpret_cast<uintptr_t>(data) % static_cast<size_t>(bytes_of(tensor.type)) != 0) {
    Result<void*> copy = upload(name, data, tensor.bytes);
    if (!copy) return copy.status();
    data = static_cast<const std::byte*>(*copy);
  }
  placed_.emplace(name, data);
  bytes_ += tensor.bytes;
  return data;
}

Result<Weight> WeightStore::matrix(std::string_view name, int64_t rows, int64_t cols) {
  const Shape shape = {rows, cols};
  Result<StoredTensor> tensor = take(name, TensorRole::kMatrix, {&shape, 1});
  if (!tensor) return tensor.status();
  Result<const std::byte*> data = place(name, *tensor);
  if (!data) return data.status();
  return Weight{.data = *data, .format = format_of(*tensor), .rows = rows, .cols = cols};
}

Result<Tensor> WeightStore::small(std::string_view name,
                                  TensorRole role,
                                  std::span<const Shape> shapes) {
  Result<StoredTensor> tensor = take(name, role, shapes);
  if (!tensor) return tensor.status();
  return table(name, f32_values(*tensor));
}

Result<Tensor> WeightStore::table(std::string_view name, std::span<const float> values) {
  const auto count = static_cast<int64_t>(values.size());
  const int64_t bytes = count * bytes_of(DType::kF32);
  Result<void*> data = upload(name, values.data(), bytes);
  if (!data) return data.status();
  bytes_ += bytes;
  return Tensor(*data, DType::kF32, {count});
}

Result<Tensor> WeightStore::gain(std::string_view name, int64_t length) {
  const Shape shape = {length};
  return small(name, TensorRole::kGain, {&shape, 1});
}

Result<Tensor> WeightStore::selection_bias(std::string_view name, int64_t length) {
  const Shape shape = {length};
  return small(name, TensorRole::kSelectionBias, {&shape, 1});
}

Result<Tensor> WeightStore::taps(std::string_view name, int64_t channels, int64_t kernel) {
  const Shape shapes[] = {{channels, 1, kernel}, {channels, kernel}};
  Result<Tensor> flat = small(name, TensorRole::kTaps, shapes);
  if (!flat) return flat.status();
  return Tensor(flat->data, DType::kF32, {channels, kernel});
}

Result<ExpertWeight> WeightStore::experts(const ExpertRequest& request) {
  CHECK(request.experts > 0);
  // What is absent is reported in the published layout's names.
  const std::string prefix(request.prefix);
  const bool stacked =
      !source_->has(expert_name(request, 0)) &&
      (source_->has(prefix + ".gate_up_proj") || source_->has(prefix + ".down_proj"));
  return stacked ? experts_stacked(request) : experts_one_by_one(request);
}

Result<ExpertWeight> WeightStore::experts_one_by_one(const ExpertRequest& request) {
  ExpertWeight weight = expert_shape(request);
  std::vector<const void*> addresses;
  for (int64_t expert = 0; expert < request.experts; ++expert) {
    const std::string name = expert_name(request, expert);
    Result<Weight> matrix = this->matrix(name, weight.rows, weight.cols);
    if (!matrix) return matrix.status();
    if (expert > 0 && matrix->format != weight.format) {
      return failure(Code::kInvalidArgument, name, "is not of the type of the experts before it");
    }
    weight.format = matrix->format;
    addresses.push_back(matrix->data);
  }
  Result<void*> table = upload(request.prefix, addresses.data(),
                               static_cast<int64_t>(addresses.size() * sizeof(void*)));
  if (!table) return table.status();
  weight.data = static_cast<const void* const*>(*table);
  return weight;
}

Result<ExpertWeight> WeightStore::experts_stacked(const ExpertRequest& request) {
  ExpertWeight weight = expert_shape(request);
  const bool down = request.which == ExpertMatrix::kDown;
  const std::string name = std::string(request.prefix) + (down ? ".down_proj" : ".gate_up_proj");
  const Shape shape = down ? Shape{request.experts, request.hidden, request.width}
                           : Shape{request.experts, 2 * request.width, request.hidden};
  Result<StoredTensor> tensor = take(name, TensorRole::kMatrix, {&shape, 1});
  if (!tensor) return tensor.status();
  Result<const std::byte*> data = place(name, *tensor);
  if (!data) return data.status();
  weight.format = format_of(*tensor);

  const int64_t stride = tensor->bytes / request.experts;
  const int64_t first = request.which == ExpertMatrix::kUp ? weight.bytes_per_expert() : 0;
  std::vector<const void*> addresses;
  for (int64_t expert = 0; expert < request.experts; ++expert) {
    addresses.push_back(*data + expert * stride + first);
  }
  Result<void*> table =
      upload(name, addresses.data(), static_cast<int64_t>(addresses.size() * sizeof(void*)));
  if (!table) return table.status();
  weight.data = static_cast<const void* const*>(*table);
  return weight;
}

Status WeightStore::finish(std::span<const std::string> ignorable) const {
  constexpr size_t kNamed = 4;
  std::vector<std::string> left = source_->untaken();
  std::erase_if(left, [&](const std::string& name) {
    return std::find(ignorable.begin(), ignorable.end(), name) != ignorable.end();
  });
  if (left.empty()) return {};
  std::string names;
  for (size_t i = 0; i < std::min(left.size(), kNamed); ++i) names += " '" + left[i] + "'";
  if (left.size() > kNamed) names += " and " + std::to_string(left.size() - kNamed) + " more";
  return {Code::kInvalidArgument, source_->origin(left.front()), ": the model does not use tensor",
          left.size() > 1 ? "s" : "", names};
}

}  // namespace switchyard
