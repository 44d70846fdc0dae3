#include "engine/weights/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace switchyard {
namespace {

static_assert(std::endian::native == std::endian::little, "the format's numbers are little-endian");

constexpr size_t kLengthBytes = 8;
constexpr size_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxTensors = 1'000'000;
constexpr size_t kMaxRank = 8;

struct TypeFacts {
  ElementType type;
  std::string_view name;
  int64_t bytes;
};

constexpr TypeFacts kTypes[] = {
    {ElementType::kF32, "F32", 4},        {ElementType::kF16, "F16", 2},
    {ElementType::kBf16, "BF16", 2},      {ElementType::kF64, "F64", 8},
    {ElementType::kF8E4m3, "F8_E4M3", 1}, {ElementType::kF8E5m2, "F8_E5M2", 1},
    {ElementType::kI64, "I64", 8},        {ElementType::kI32, "I32", 4},
    {ElementType::kI16, "I16", 2},        {ElementType::kI8, "I8", 1},
    {ElementType::kU64, "U64", 8},        {ElementType::kU32, "U32", 4},
    {ElementType::kU16, "U16", 2},        {ElementType::kU8, "U8", 1},
    {ElementType::kBool, "BOOL", 1},
};

const TypeFacts& facts_of(ElementType type) {
  const auto* found =
      std::find_if(std::begin(kTypes), std::end(kTypes), [&](auto& t) { return t.type == type; });
  CHECK(found != std::end(kTypes));
  return *found;
}

// One tensor as the header describes it; a part that the header has not given is empty.
struct Entry {
  std::string name;
  std::optional<std::string> type;
  std::optional<std::vector<uint64_t>> shape;
  std::optional<std::vector<uint64_t>> range;  // [begin, end) from the start of the data
};

// Takes the header as it is parsed, so that memory is taken for tensors only, whatever the bytes:
//   { "__metadata__": {string: string}, NAME: {"dtype": T, "shape": [..], "data_offsets": [b, e]} }
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  [[nodiscard]] const std::string& problem() const { return problem_; }
  [[nodiscard]] std::vector<Entry>& entries() { return entries_; }

  bool null() override { return unexpected(); }
  bool boolean(bool) override { return unexpected(); }
  bool number_integer(number_integer_t) override { return unexpected(); }
  bool number_float(number_float_t, const string_t&) override { return unexpected(); }
  bool binary(binary_t&) override { return unexpected(); }

  bool number_unsigned(number_unsigned_t value) override {
    if (numbers_ == nullptr) return unexpected();
    if (numbers_->size() == kMaxRank) return fail("has too many dimensions");
    numbers_->push_back(value);
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) return true;
    if (place_ != Place::kTensor || field_ != "dtype" || entries_.back().type) return unexpected();
    entries_.back().type = value;
    return true;
  }

  bool key(string_t& name) override {
    if (place_ == Place::kTensor) field_ = name;
    if (place_ == Place::kFile) tensor_ = name;
    return true;
  }

  bool start_object(size_t) override {
    switch (place_) {
      case Place::kOutside:
        place_ = Place::kFile;
        return true;
      case Place::kFile:
        if (tensor_ == "__metadata__") {
          place_ = Place::kMetadata;
          return true;
        }
        if (entries_.size() == kMaxTensors) return fail("is one tensor too many");
        entries_.push_back({.name = tensor_, .type = {}, .shape = {}, .range = {}});
        place_ = Place::kTensor;
        return true;
      case Place::kMetadata:
      case Place::kTensor:
        break;
    }
    return unexpected();
  }

  bool end_object() override {
    place_ = place_ == Place::kFile ? Place::kOutside : Place::kFile;
    return true;
  }

  bool start_array(size_t) override {
    if (place_ != Place::kTensor || numbers_ != nullptr) return unexpected();
    auto* list = field_ == "shape"          ? &entries_.back().shape
                 : field_ == "data_offsets" ? &entries_.back().range
                                            : nullptr;
    if (list == nullptr || list->has_value()) return unexpected();
    numbers_ = &list->emplace();
    return true;
  }

  bool end_array() override {
    numbers_ = nullptr;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    problem_ = "the header is not JSON (byte " + std::to_string(position) + ")";
    return false;
  }

 private:
  enum class Place { kOutside, kFile, kMetadata, kTensor };

  bool fail(std::string_view what) {
    problem_ = "tensor '" + tensor_ + "' " + std::string(what);
    return false;
  }
  bool unexpected() {
    if (place_ == Place::kOutside) {
      problem_ = "the header is not a JSON object";
      return false;
    }
    return fail(place_ == Place::kTensor ? "has an unexpected field or value at '" + field_ + "'"
                                         : "is not described by an object");
  }

  Place place_ = Place::kOutside;
  std::string tensor_;
  std::string field_;
  std::vector<uint64_t>* numbers_ = nullptr;  // the array being read
  std::vector<Entry> entries_;
  std::string problem_;
};

// `entry` as a tensor of `data`, everything about it checked except its neighbours.
Result<StoredTensor> tensor_of(const Entry& entry, std::span<const std::byte> data) {
  const auto wrong = [&](const auto&... parts) {
    return Status(Code::kInvalidArgument, "tensor '", entry.name, "' ", parts...);
  };
  if (!entry.type) return wrong("has no dtype");
  if (!entry.shape) return wrong("has no shape");
  if (!entry.range || entry.range->size() != 2) return wrong("has no pair of data_offsets");
  const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                  [&](auto& known) { return known.name == *entry.type; });
  if (type == std::end(kTypes)) return wrong("has the unknown dtype '", *entry.type, "'");

  const uint64_t begin = (*entry.range)[0];
  const uint64_t end = (*entry.range)[1];
  if (begin > end || end > data.size()) {
    return wrong("lies at bytes [", begin, ", ", end, ") of ", data.size());
  }
  StoredTensor tensor{.type = type->type, .shape = {}, .data = data.data() + begin, .bytes = 0};
  uint64_t bytes = static_cast<uint64_t>(type->bytes);
  for (const uint64_t size : *entry.shape) {
    if (size > INT64_MAX || __builtin_mul_overflow(bytes, size, &bytes)) {
      return wrong("has a shape whose size overflows");
    }
    tensor.shape.push_back(static_cast<int64_t>(size));
  }
  if (bytes != end - begin) {
    return wrong("needs ", bytes, " bytes for its shape and has ", end - begin);
  }
  tensor.bytes = static_cast<int64_t>(bytes);
  return tensor;
}

Status check_disjoint(const TensorMap& tensors) {
  std::vector<const TensorMap::value_type*> by_place;
  by_place.reserve(tensors.size());
  for (const auto& entry : tensors) by_place.push_back(&entry);
  std::sort(by_place.begin(), by_place.end(), [](auto* a, auto* b) {
    return std::pair(a->second.data, a->second.bytes) < std::pair(b->second.data, b->second.bytes);
  });
  for (size_t i = 1; i < by_place.size(); ++i) {
    const auto& [before_name, before] = *by_place[i - 1];
    if (by_place[i]->second.data < before.data + before.bytes) {
      return {Code::kInvalidArgument, "tensors '", before_name, "' and '",
              by_place[i]->first,     "' overlap"};
    }
  }
  return {};
}

}  // namespace

int64_t bytes_of(ElementType type) { return facts_of(type).bytes; }
std::string_view name_of(ElementType type) { return facts_of(type).name; }

Result<TensorMap> parse_safetensors(std::span<const std::byte> file) {
  if (file.size() < kLengthBytes) {
    return Status(Code::kInvalidArgument, "too short for a safetensors file: ", file.size(),
                  " bytes");
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), kLengthBytes);
  if (header_bytes > kMaxHeaderBytes || header_bytes > file.size() - kLengthBytes) {
    return Status(Code::kInvalidArgument, "a header of ", header_bytes, " bytes in a file of ",
                  file.size(), " (limit ", kMaxHeaderBytes, ")");
  }
  const std::string_view header(reinterpret_cast<const char*>(file.data()) + kLengthBytes,
                                header_bytes);
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(header, &reader)) {
    return Status(Code::kInvalidArgument, reader.problem());
  }
  const auto data = file.subspan(kLengthBytes + header_bytes);
  TensorMap tensors;
  for (Entry& entry : reader.entries()) {
    Result<StoredTensor> tensor = tensor_of(entry, data);
    if (!tensor) return tensor.status();
    if (!tensors.emplace(entry.name, *std::move(tensor)).second) {
      return Status(Code::kInvalidArgument, "tensor '", entry.name, "' is there twice");
    }
  }
  const Status disjoint = check_disjoint(tensors);
  if (!disjoint.ok()) return disjoint;
  return tensors;
}

Result<SafetensorsFile> SafetensorsFile::open(MappedFile file) {
  Result<TensorMap> tensors = parse_safetensors(file.bytes());
  if (!tensors) return tensors.status().within(file.path().string());
  return SafetensorsFile(std::move(file), *std::move(tensors));
}

}  // namespace switchyard
