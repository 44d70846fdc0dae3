#include "engine/weights/weight_packer.h"

#include "engine/weights/stored_values.h"

namespace switchyard {
namespace {

bool aligned(const void* data, DType dtype) {
  return reinterpret_cast<uintptr_t>(data) % static_cast<size_t>(bytes_of(dtype)) == 0;
}

}  // namespace

Status WeightPacker::pack(const MatrixSource& source, const Weight& out, ScaleChoice scales) {
  CHECK(source.rows == out.rows && source.cols == out.cols);
  PackArgs args{.out = out, .source = {}, .scales = scales, .given_scale = {}};
  const bool fp8 = source.type == ElementType::kF8E4m3;
  const DType dtype = fp8 ? DType::kF32 : *float_type(source.type);
  const void* host = source.data;
  if (fp8) {
    if (!expand_fp8(source, expanded_)) return {Code::kInvalidArgument, "holds a NaN"};
    host = expanded_.data();
  }

  args.source = Tensor(nullptr, dtype, {source.rows, source.cols});
  const int64_t bytes = args.source.bytes();
  if (source.drawn) {
    args.source.data = reserve(bytes, staging_) ? staging_.data() : nullptr;
  } else if (!fp8 && backend_->reads_host_memory() && aligned(host, dtype)) {
    args.source.data = const_cast<void*>(host);
  } else {
    args.source.data = stage(host, bytes, staging_);
  }
  if (args.source.data == nullptr) {
    return {Code::kResourceExhausted, "does not fit while it is packed: ", bytes, " bytes"};
  }
  if (source.drawn) {
    backend_->fill_normal(
        {.out = args.source, .seed = source.drawn->seed, .deviation = source.drawn->deviation});
  }

  if (fp8 && out.format == WeightFormat::kFp8) {
    const std::vector<float> given = group_scales(source, out.group);
    const auto count = static_cast<int64_t>(given.size());
    args.given_scale = Tensor(nullptr, DType::kF32, {source.rows, count / source.rows});
    args.given_scale.data = stage(given.data(), args.given_scale.bytes(), staged_scales_);
    if (args.given_scale.data == nullptr) {
      return {Code::kResourceExhausted, "has scales that do not fit while it is packed"};
    }
  }
  backend_->pack(args);
  return {};
}

void WeightPacker::release() {
  backend_->synchronize();
  staging_ = {};
  staged_scales_ = {};
  expanded_ = {};
}

bool WeightPacker::reserve(int64_t bytes, Buffer& staging) {
  if (!staging.empty() && staging.bytes() >= bytes) return true;
  backend_->synchronize();  // what reads the smaller one
  staging = {};
  staging = backend_->allocate(bytes);
  return !staging.empty();
}

void* WeightPacker::stage(const void* data, int64_t bytes, Buffer& staging) {
  if (!reserve(bytes, staging)) return nullptr;
  backend_->upload(staging.data(), data, bytes);
  return staging.data();
}

}  // namespace switchyard
