// WeightStore's experts: found in either layout on disk, then used where they lie or packed side by
// side into one piece of memory.
#include <algorithm>
#include <utility>

#include "engine/weights/stored_values.h"
#include "engine/weights/weight_store.h"

namespace switchyard {
namespace {

// So that every expert's codes and scales are as well aligned as the first's.
constexpr int64_t kExpertAlignment = 256;

int64_t rounded_up(int64_t bytes) {
  return (bytes + kExpertAlignment - 1) / kExpertAlignment * kExpertAlignment;
}

std::string expert_name(const ExpertRequest& request, int64_t expert) {
  const char* matrix = request.which == ExpertMatrix::kGate ? ".w1.weight"
                       : request.which == ExpertMatrix::kUp ? ".w3.weight"
                                                            : ".w2.weight";
  return std::string(request.prefix) + "." + std::to_string(expert) + matrix;
}

}  // namespace

Result<ExpertWeight> WeightStore::experts(const ExpertRequest& request) {
  CHECK(request.experts > 0);
  const bool down = request.which == ExpertMatrix::kDown;
  const Shape shape =
      down ? Shape{request.hidden, request.width} : Shape{request.width, request.hidden};
  // What is absent is reported in the published layout's names.
  const std::string prefix(request.prefix);
  const bool stacked =
      !source_->has(expert_name(request, 0)) &&
      (source_->has(prefix + ".gate_up_proj") || source_->has(prefix + ".down_proj"));
  Result<std::vector<ExpertPart>> parts =
      stacked ? experts_stacked(request, shape) : experts_one_by_one(request, shape);
  if (!parts) return parts.status();

  const StoredTensor& first = parts->front().taken->tensor;
  ExpertWeight weight;
  weight.format = format_for(plan_.weights, *weight_format(first.type), *backend_);
  weight.group = group_for(weight.format, shape[1]);
  weight.experts = request.experts;
  weight.rows = shape[0];
  weight.cols = shape[1];
  Result<Places> places =
      in_place(weight.format, first) ? place_experts(*parts, weight) : pack_experts(*parts, weight);
  if (!places) return places.status();
  const auto table_bytes = static_cast<int64_t>(parts->size() * sizeof(void*));
  Result<void*> data = upload(request.prefix, places->data.data(), table_bytes);
  if (!data) return data.status();
  weight.data = static_cast<const void* const*>(*data);
  if (!places->scale.empty()) {
    Result<void*> scale = upload(request.prefix, places->scale.data(), table_bytes);
    if (!scale) return scale.status();
    weight.scale = static_cast<const void* const*>(*scale);
  }
  return weight;
}

Result<std::vector<WeightStore::ExpertPart>> WeightStore::experts_one_by_one(
    const ExpertRequest& request, const Shape& shape) {
  std::vector<ExpertPart> parts;
  for (int64_t expert = 0; expert < request.experts; ++expert) {
    std::string name = expert_name(request, expert);
    Result<Taken> taken = take_matrix(name, shape);
    if (!taken) return taken.status();
    if (expert > 0 && taken->tensor.type != parts.front().taken->tensor.type) {
      return failure(Code::kInvalidArgument, name, "is not of the type of the experts before it");
    }
    parts.push_back({.name = std::move(name),
                     .taken = std::make_shared<const Taken>(*std::move(taken)),
                     .index = 0,
                     .first_row = 0});
  }
  return parts;
}

Result<std::vector<WeightStore::ExpertPart>> WeightStore::experts_stacked(
    const ExpertRequest& request, const Shape& shape) {
  const bool down = request.which == ExpertMatrix::kDown;
  const std::string name = std::string(request.prefix) + (down ? ".down_proj" : ".gate_up_proj");
  const int64_t stack_rows = down ? request.hidden : 2 * request.width;
  Result<Taken> taken = take_matrix(name, {request.experts, stack_rows, shape[1]});
  if (!taken) return taken.status();
  CHECK(!taken->tensor.drawn);  // such a source has every name, so it has the experts one by one
  const auto shared = std::make_shared<const Taken>(*std::move(taken));
  const int64_t skipped = request.which == ExpertMatrix::kUp ? request.width : 0;
  std::vector<ExpertPart> parts;
  for (int64_t expert = 0; expert < request.experts; ++expert) {
    parts.push_back({.name = name, .taken = shared, .index = expert, .first_row = skipped});
  }
  return parts;
}

Result<WeightStore::Places> WeightStore::place_experts(const std::vector<ExpertPart>& parts,
                                                       const ExpertWeight& weight) {
  Places places;
  for (const ExpertPart& part : parts) {
    const StoredTensor& tensor = part.taken->tensor;
    Result<const std::byte*> data = place(part.name, tensor);
    if (!data) return data.status();
    const int64_t row = part.index * tensor.shape[tensor.shape.size() - 2] + part.first_row;
    places.data.push_back(*data + row * weight.cols * bytes_of(tensor.type));
  }
  return places;
}

Result<WeightStore::Places> WeightStore::pack_experts(const std::vector<ExpertPart>& parts,
                                                      const ExpertWeight& weight) {
  const auto count = static_cast<int64_t>(parts.size());
  const WeightBytes bytes =
      backend_->weight_bytes(weight.format, weight.group, weight.rows, weight.cols);
  const int64_t data_stride = rounded_up(bytes.data);
  const int64_t scale_stride = rounded_up(bytes.scale);
  Result<void*> data = allocate(parts.front().name, count * data_stride);
  if (!data) return data.status();
  Result<void*> scale = static_cast<void*>(nullptr);
  if (bytes.scale > 0) scale = allocate(parts.front().name, count * scale_stride);
  if (!scale) return scale.status();

  Places places;
  for (int64_t expert = 0; expert < count; ++expert) {
    const ExpertPart& part = parts[static_cast<size_t>(expert)];
    Weight out{.data = static_cast<std::byte*>(*data) + expert * data_stride,
               .scale = nullptr,
               .format = weight.format,
               .group = weight.group,
               .rows = weight.rows,
               .cols = weight.cols};
    places.data.push_back(out.data);
    if (*scale != nullptr) {
      out.scale = static_cast<std::byte*>(*scale) + expert * scale_stride;
      places.scale.push_back(out.scale);
    }
    const MatrixSource source = rows_of(*part.taken, part.index, part.first_row, weight.rows);
    if (Status status = packer_.pack(source, out, plan_.scales); !status.ok()) {
      return failure(status.code(), part.name, status.message());
    }
    bytes_ += out.bytes();
  }
  return places;
}

}  // namespace switchyard
