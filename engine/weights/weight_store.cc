#include "engine/weights/weight_store.h"

#include <algorithm>
#include <utility>

#include "engine/weights/stored_values.h"

namespace switchyard {

WeightStore::WeightStore(std::unique_ptr<TensorSource> source,
                         Backend& backend,
                         const WeightPlan& plan)
    : source_(std::move(source)), backend_(&backend), plan_(plan), packer_(backend) {
  CHECK(source_ != nullptr);
  CHECK_OK(check(plan, backend));
}

Result<WeightStore> WeightStore::open(const std::filesystem::path& folder,
                                      Backend& backend,
                                      const WeightPlan& plan) {
  // What is used where it lies comes into memory as it is used.
  const Reading reading = backend.reads_host_memory() ? Reading::kOnTouch : Reading::kAhead;
  Result<std::unique_ptr<TensorSource>> source = open_safetensors(folder, reading);
  if (!source) return source.status();
  return WeightStore(*std::move(source), backend, plan);
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
  return tensor;
}

Result<StoredTensor> WeightStore::take_floats(std::string_view name,
                                              TensorRole role,
                                              std::span<const Shape> shapes) {
  Result<StoredTensor> tensor = take(name, role, shapes);
  if (tensor && !float_type(tensor->type)) {
    return failure(Code::kInvalidArgument, name,
                   "is of type " + std::string(name_of(tensor->type)) + ", not F32, F16 or BF16");
  }
  return tensor;
}

Result<WeightStore::Taken> WeightStore::take_matrix(std::string_view name, const Shape& shape) {
  Result<StoredTensor> tensor = take(name, TensorRole::kMatrix, {&shape, 1});
  if (!tensor) return tensor.status();
  if (!weight_format(tensor->type)) {
    return failure(
        Code::kInvalidArgument, name,
        "is of type " + std::string(name_of(tensor->type)) + ", not F32, F16, BF16 or F8_E4M3");
  }
  Taken taken{.tensor = *std::move(tensor), .scales = {}};
  if (taken.tensor.type == ElementType::kF8E4m3) {
    if (Status status = take_scales(name, taken); !status.ok()) return status;
  }
  return taken;
}

Status WeightStore::take_scales(std::string_view name, Taken& taken) {
  const std::string blocks = std::string(name) + "_scale_inv";
  const std::string rows = std::string(name) + "_scale";
  const bool by_block = source_->has(blocks);
  if (!by_block && !source_->has(rows)) {
    return failure(Code::kInvalidArgument, name,
                   "is of type F8_E4M3 and has neither " + blocks + " nor " + rows);
  }
  const auto blocks_in = [](int64_t size) { return (size + kFp8Block - 1) / kFp8Block; };
  Shape of_blocks = taken.tensor.shape, of_rows = taken.tensor.shape;
  const size_t last = of_blocks.size() - 1;
  of_blocks[last - 1] = blocks_in(of_blocks[last - 1]);
  of_blocks[last] = blocks_in(of_blocks[last]);
  of_rows.pop_back();
  Shape of_rows_apart = of_rows;
  of_rows_apart.push_back(1);
  const std::vector<Shape> shapes =
      by_block ? std::vector<Shape>{of_blocks} : std::vector<Shape>{of_rows, of_rows_apart};
  Result<StoredTensor> scales = take_floats(by_block ? blocks : rows, TensorRole::kMatrix, shapes);
  if (!scales) return scales.status();
  taken.scales = f32_values(*scales);
  taken.block_rows = by_block ? kFp8Block : 1;
  taken.block_cols = by_block ? kFp8Block : taken.tensor.shape[last];
  return {};
}

MatrixSource WeightStore::rows_of(const Taken& taken,
                                  int64_t index,
                                  int64_t first_row,
                                  int64_t rows) {
  const StoredTensor& tensor = taken.tensor;
  const size_t last = tensor.shape.size() - 1;
  const int64_t cols = tensor.shape[last];
  const int64_t from_row = index * tensor.shape[last - 1] + first_row;
  const size_t scales_each =
      taken.scales.size() / static_cast<size_t>(last == 2 ? tensor.shape[0] : 1);
  const std::span<const float> scales(taken.scales);
  MatrixSource source{.type = tensor.type, .drawn = tensor.drawn, .rows = rows, .cols = cols};
  if (!tensor.drawn) source.data = tensor.data + from_row * cols * bytes_of(tensor.type);
  source.scales = {.values = scales.subspan(static_cast<size_t>(index) * scales_each, scales_each),
                   .block_rows = taken.block_rows,
                   .block_cols = taken.block_cols};
  source.first_row = first_row;
  return source;
}

Result<void*> WeightStore::allocate(std::string_view name, int64_t bytes) {
  Buffer buffer = backend_->allocate(bytes);
  if (buffer.empty()) {
    return failure(Code::kResourceExhausted, name,
                   "does not fit: " + std::to_string(bytes) + " bytes");
  }
  void* memory = buffer.data();
  buffers_.push_back(std::move(buffer));
  return memory;
}

Result<void*> WeightStore::upload(std::string_view name, const void* data, int64_t bytes) {
  Result<void*> memory = allocate(name, bytes);
  if (memory) backend_->upload(*memory, data, bytes);
  return memory;
}

bool WeightStore::in_place(WeightFormat format, const StoredTensor& tensor) const {
  return backend_->reads_host_memory() && !is_quantised(format) &&
         format == weight_format(tensor.type);
}

Result<const std::byte*> WeightStore::place(std::string_view name, const StoredTensor& tensor) {
  const auto known = placed_.find(name);
  if (known != placed_.end()) return known->second;
  const std::byte* data = tensor.data;
  const auto alignment = static_cast<size_t>(bytes_of(tensor.type));
  if (tensor.drawn) {
    Result<void*> memory = allocate(name, tensor.bytes);
    if (!memory) return memory.status();
    backend_->fill_normal(
        {.out = Tensor(*memory, *float_type(tensor.type), {tensor.bytes / bytes_of(tensor.type)}),
         .seed = tensor.drawn->seed,
         .deviation = tensor.drawn->deviation});
    data = static_cast<const std::byte*>(*memory);
  } else if (!backend_->reads_host_memory() || reinterpret_cast<uintptr_t>(data) % alignment != 0) {
    Result<void*> copy = upload(name, data, tensor.bytes);
    if (!copy) return copy.status();
    data = static_cast<const std::byte*>(*copy);
  }
  placed_.emplace(name, data);
  bytes_ += tensor.bytes;
  return data;
}

Result<Weight> WeightStore::product(std::string_view name,
                                    const Shape& shape,
                                    WeightChoice choice) {
  Result<Taken> taken = take_matrix(name, shape);
  if (!taken) return taken.status();
  const StoredTensor& tensor = taken->tensor;
  const WeightFormat format = format_for(choice, *weight_format(tensor.type), *backend_);
  Weight weight{
      .format = format, .group = group_for(format, shape[1]), .rows = shape[0], .cols = shape[1]};
  if (in_place(format, tensor)) {
    Result<const std::byte*> data = place(name, tensor);
    if (!data) return data.status();
    weight.data = *data;
    return weight;
  }
  const auto known = packed_.find({std::string(name), format});
  if (known != packed_.end()) return known->second;

  const WeightBytes bytes = backend_->weight_bytes(format, weight.group, weight.rows, weight.cols);
  Result<void*> data = allocate(name, bytes.data);
  if (!data) return data.status();
  weight.data = *data;
  if (bytes.scale > 0) {
    Result<void*> scale = allocate(name, bytes.scale);
    if (!scale) return scale.status();
    weight.scale = *scale;
  }
  const MatrixSource source = rows_of(*taken, 0, 0, weight.rows);
  if (Status status = packer_.pack(source, weight, plan_.scales); !status.ok()) {
    return failure(status.code(), name, status.message());
  }
  packed_.emplace(std::pair(std::string(name), format), weight);
  bytes_ += weight.bytes();
  return weight;
}

Result<Weight> WeightStore::matrix(std::string_view name, int64_t rows, int64_t cols) {
  return product(name, {rows, cols}, plan_.weights);
}

Result<Weight> WeightStore::head(std::string_view name, int64_t rows, int64_t cols) {
  return product(name, {rows, cols}, plan_.head_choice());
}

Result<Weight> WeightStore::router(std::string_view name, int64_t rows, int64_t cols) {
  const Shape shape = {rows, cols};
  Result<StoredTensor> tensor = take_floats(name, TensorRole::kMatrix, {&shape, 1});
  if (!tensor) return tensor.status();
  return product(name, shape, WeightChoice::kAuto);
}

Result<Weight> WeightStore::embedding(std::string_view name, int64_t rows, int64_t cols) {
  const Shape shape = {rows, cols};
  Result<StoredTensor> tensor = take_floats(name, TensorRole::kMatrix, {&shape, 1});
  if (!tensor) return tensor.status();
  Result<const std::byte*> data = place(name, *tensor);
  if (!data) return data.status();
  return Weight{.data = *data, .format = *weight_format(tensor->type), .rows = rows, .cols = cols};
}

Result<Tensor> WeightStore::small(std::string_view name,
                                  TensorRole role,
                                  std::span<const Shape> shapes) {
  Result<StoredTensor> tensor = take_floats(name, role, shapes);
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

Status WeightStore::finish(std::span<const std::string> ignorable) {
  constexpr size_t kNamed = 4;
  packer_.release();
  std::vector<std::string> left = source_->untaken();
  std::erase_if(left, [&](const std::string& name) {
    return std::find(ignorable.begin(), ignorable.end(), name) != ignorable.end();
  });
  if (left.empty()) {
    if (!backend_->reads_host_memory()) {
      read_bytes_ = source_->taken_bytes();
      source_.reset();  // nothing is used where it lies
    }
    return {};
  }
  std::string names;
  for (size_t i = 0; i < std::min(left.size(), kNamed); ++i) names += " '" + left[i] + "'";
  if (left.size() > kNamed) names += " and " + std::to_string(left.size() - kNamed) + " more";
  return {Code::kInvalidArgument, source_->origin(left.front()), ": the model does not use tensor",
          left.size() > 1 ? "s" : "", names};
}

}  // namespace switchyard
