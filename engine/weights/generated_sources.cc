// The TensorSources without files: random values for speed tests of models whose checkpoint is not
// at hand, and bare shapes for measuring.
#include <cmath>

#include "engine/weights/tensor_source.h"

namespace switchyard {
namespace {

constexpr float kGainSpread = 0.1F;
constexpr float kSelectionBiasSpread = 0.02F;

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
  explicit RandomSource(uint64_t seed) : seed_(seed) {}

  [[nodiscard]] bool has(std::string_view) const override { return true; }

  Result<StoredTensor> take(const TensorRequest& request) override {
    return request.role == TensorRole::kMatrix ? matrix(request) : small(request);
  }

  [[nodiscard]] std::vector<std::string> untaken() const override { return {}; }
  [[nodiscard]] std::string origin(std::string_view) const override { return "random weights"; }

 private:
  // Of variance 1/cols, so that a product has the variance of its input.
  [[nodiscard]] StoredTensor matrix(const TensorRequest& request) const {
    return {.type = ElementType::kBf16,
            .shape = request.shape,
            .bytes = elements_of(request.shape) * bytes_of(ElementType::kBf16),
            .drawn = DrawnValues{.seed = hash_of(seed_, request.name),
                                 .deviation = deviation_of(request)}};
  }

  StoredTensor small(const TensorRequest& request) {
    Generator generator(hash_of(seed_, request.name));
    std::vector<float>& values =
        small_.emplace_back(static_cast<size_t>(elements_of(request.shape)));
    for (float& value : values) {
      const float drawn = generator.normal();
      value = request.role == TensorRole::kGain            ? 1 + kGainSpread * drawn
              : request.role == TensorRole::kSelectionBias ? kSelectionBiasSpread * drawn
                                                           : deviation_of(request) * drawn;
    }
    return stored_f32(request, values);
  }

  static float deviation_of(const TensorRequest& request) {
    return 1 / std::sqrt(static_cast<float>(request.shape.back()));
  }

  const uint64_t seed_;
  std::vector<std::vector<float>> small_;
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

std::unique_ptr<TensorSource> random_weights(uint64_t seed) {
  return std::make_unique<RandomSource>(seed);
}

std::unique_ptr<TensorSource> shapes_only() { return std::make_unique<ShapesOnlySource>(); }

}  // namespace switchyard
