// Reads the safetensors format: an 8-byte little-endian header length, a JSON header that names
// each tensor's type, shape and byte range, then the data.
// Not here: which tensors a model needs, or several files that make one checkpoint (shards).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/weights/mapped_file.h"

namespace switchyard {

// Element types of the format. Only the first three can be weights.
enum class ElementType : uint8_t {
  kF32,
  kF16,
  kBf16,
  kF64,
  kF8E4m3,
  kF8E5m2,
  kI64,
  kI32,
  kI16,
  kI8,
  kU64,
  kU32,
  kU16,
  kU8,
  kBool,
};

int64_t bytes_of(ElementType type);
std::string_view name_of(ElementType type);  // as the format spells it: "BF16"

// Values that are to be made up by a backend: its own numbers of `seed`, N(0, deviation^2).
struct DrawnValues {
  uint64_t seed = 0;
  float deviation = 1;
};

// A tensor where it lies: `data` belongs to whoever handed this out, and may be misaligned for its
// type (the format promises no alignment). Or one whose values lie nowhere yet: `drawn`, not
// `data`.
struct StoredTensor {
  ElementType type = ElementType::kF32;
  std::vector<int64_t> shape;  // no dimension is negative; the product fits
  const std::byte* data = nullptr;
  int64_t bytes = 0;  // product(shape) * bytes_of(type)
  std::optional<DrawnValues> drawn{};
};

using TensorMap = std::map<std::string, StoredTensor, std::less<>>;

// The tensors of one whole file; `data` points into `file`. Any bytes are safe. Errors name the
// tensor: header longer than 100 MB or than the file, bad syntax, unknown type, size that overflows
// or is not what the shape says, range outside of the file, ranges that overlap, a name twice.
Result<TensorMap> parse_safetensors(std::span<const std::byte> file);

// A mapped file and its tensors.
class SafetensorsFile {
 public:
  static Result<SafetensorsFile> open(MappedFile file);  // errors name the path

  [[nodiscard]] const TensorMap& tensors() const { return tensors_; }
  [[nodiscard]] const std::filesystem::path& path() const { return file_.path(); }

 private:
  SafetensorsFile(MappedFile file, TensorMap tensors)
      : file_(std::move(file)), tensors_(std::move(tensors)) {}

  MappedFile file_;
  TensorMap tensors_;
};

}  // namespace switchyard
