// The TensorSources without files: random values for speed tests of models whose checkpoint is not
// at hand, and bare shapes for measuring.
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <utility>

#include "engine/weights/tensor_source.h"

namespace switchyard {
namespace {

constexpr float kGainSpread = 0.1F;
constexpr float kSelectionBiasSpread = 0.02F;

// Small enough to stay in a core's cache; a prime, so that a matrix larger than the block never has
// the same row twice.
constexpr int64_t kBlockElements = 4194301;

// splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
class Generator {
 public:
  explicit Generator(uint64_t seed) : state_(seed) {}

  uint64_t bits() {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  // Mean 0, variance 1: the sum of four uniform numbers is close enough to normal.
  float normal() {
    constexpr float kMean = 4 * 65535.0F / 2;
    constexpr float kDeviation = 37837.2F;  // 65536 / sqrt(3)
    const uint64_t drawn = bits();
    const auto sum = static_cast<float>((drawn & 0xffff) + ((drawn >> 16) & 0xffff) +
                                        ((drawn >> 32) & 0xffff) + (drawn >> 48));
    return (sum - kMean) / kDeviation;
  }

 private:
  uint64_t state_;
};

// FNV-1a.
uint64_t hash_of(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325 ^ seed;
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return Generator(hash).bits();
}

// Rounds to nearest even; `value` is finite.
uint16_t bf16_of(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

int64_t elements_of(const std::vector<int64_t>& shape) {
  int64_t product = 1;
  for (const int64_t size : shape) CHECK(!__builtin_mul_overflow(product, size, &product));
  return product;
}

StoredTensor stored_f32(const TensorRequest& request, const std::vector<float>& values) {
  return {.type = ElementType::kF32,
          .shape = request.shape,
          .data = reinterpret_cast<const std::byte*>(values.data()),
          .bytes = static_cast<int64_t>(values.size() * sizeof(float))};
}

class RandomSource final : public TensorSource {
 public:
  RandomSource(uint64_t seed, Backend& backend) : seed_(seed), backend_(backend) {}

  [[nodiscard]] bool has(std::string_view) const override { return true; }

  Result<StoredTensor> take(const TensorRequest& request) override {
    const auto known = given_.find(request.name);
    if (known != given_.end()) return known->second;
    Result<StoredTensor> tensor =
        request.role == TensorRole::kMatrix ? matrix(request) : Result(small(request));
    if (tensor) given_.emplace(request.name, *tensor);
    return tensor;
  }

  [[nodiscard]] std::vector<std::string> untaken() const override { return {}; }
  [[nodiscard]] std::string origin(std::string_view) const override { return "random weights"; }

 private:
  // Pieces of one block of random numbers, from a place that the name decides: memory speed.
  Result<StoredTensor> matrix(const TensorRequest& request) {
    const int64_t elements = elements_of(request.shape);
    const int64_t bytes = elements * bytes_of(ElementType::kBf16);
    Buffer buffer = backend_.allocate(bytes);
    if (buffer.empty()) {
      return Status(Code::kResourceExhausted, "random weights: no memory for the ", bytes,
                    " bytes of tensor '", request.name, "'");
    }
    const std::vector<uint16_t>& block = block_for(request.shape.back());
    auto* out = static_cast<uint16_t*>(buffer.data());
    int64_t from = static_cast<int64_t>(hash_of(seed_, request.name) % kBlockElements);
    for (int64_t done = 0; done < elements;) {
      const int64_t piece = std::min(elements - done, kBlockElements - from);
      backend_.upload(out + done, block.data() + from, piece * bytes_of(ElementType::kBf16));
      done += piece;
      from = 0;
    }
    const StoredTensor tensor{.type = ElementType::kBf16,
                              .shape = request.shape,
                              .data = static_cast<const std::byte*>(buffer.data()),
                              .bytes = bytes};
    matrices_.push_back(std::move(buffer));
    return tensor;
  }

  StoredTensor small(const TensorRequest& request) {
    Generator generator(hash_of(seed_, request.name));
    std::vector<float>& values =
        small_.emplace_back(static_cast<size_t>(elements_of(request.shape)));
    const auto columns = static_cast<float>(request.shape.back());
    for (float& value : values) {
      const float drawn = generator.normal();
      value = request.role == TensorRole::kGain            ? 1 + kGainSpread * drawn
              : request.role == TensorRole::kSelectionBias ? kSelectionBiasSpread * drawn
                                                           : drawn / std::sqrt(columns);
    }
    return stored_f32(request, values);
  }

  // Of variance 1/cols, so that a product has the variance of its input.
  const std::vector<uint16_t>& block_for(int64_t cols) {
    std::vector<uint16_t>& block = blocks_[cols];
    if (block.empty()) {
      const float scale = 1 / std::sqrt(static_cast<float>(cols));
      Generator generator(hash_of(seed_, std::to_string(cols)));
      block.resize(kBlockElements);
      for (uint16_t& value : block) value = bf16_of(scale * generator.normal());
    }
    return block;
  }

  const uint64_t seed_;
  Backend& backend_;
  std::map<int64_t, std::vector<uint16_t>> blocks_;  // by columns
  std::vector<Buffer> matrices_;
  std::vector<std::vector<float>> small_;
  std::map<std::string, StoredTensor, std::less<>> given_;
};

class ShapesOnlySource final : public TensorSource {
 public:
  [[nodiscard]] bool has(std::string_view) const override { return true; }

  Result<StoredTensor> take(const TensorRequest& request) override {
    if (request.role == TensorRole::kMatrix) {
      return StoredTensor{.type = ElementType::kBf16,
                          .shape = request.shape,
                          .data = &nothing_,
                          .bytes = elements_of(request.shape) * bytes_of(ElementType::kBf16)};
    }
    return stored_f32(request,
                      small_.emplace_back(static_cast<size_t>(elements_of(request.shape))));
  }

  [[nodiscard]] std::vector<std::string> untaken() const override { return {}; }
  [[nodiscard]] std::string origin(std::string_view) const override { return "shapes only"; }

 private:
  alignas(64) const std::byte nothing_{};  // every matrix is here
  std::vector<std::vector<float>> small_;
};

}  // namespace

std::unique_ptr<TensorSource> random_weights(uint64_t seed, Backend& backend) {
  return std::make_unique<RandomSource>(seed, backend);
}

std::unique_ptr<TensorSource> shapes_only() { return std::make_unique<ShapesOnlySource>(); }

}  // namespace switchyard
