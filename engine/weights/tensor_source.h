// TensorSource: where a model's tensors come from. Three of them: files, random values, and no
// values at all. What a tensor becomes for the kernels is WeightStore's affair.
// One thread at a time.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/weights/mapped_file.h"
#include "engine/weights/safetensors.h"

namespace switchyard {

// What the values are for. Files know their values; a generator must know what makes sense.
enum class TensorRole : uint8_t { kMatrix, kGain, kTaps, kSelectionBias };

struct TensorRequest {
  std::string_view name;
  std::vector<int64_t> shape;
  TensorRole role = TensorRole::kMatrix;
};

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  TensorSource(const TensorSource&) = delete;
  TensorSource& operator=(const TensorSource&) = delete;

  // Whether take() could give a tensor of this name (of whatever shape).
  [[nodiscard]] virtual bool has(std::string_view name) const = 0;

  // The tensor of that name, valid as long as the source. Its shape is the source's own and is the
  // caller's to compare. Errors: there is none (kNotFound), no memory (kResourceExhausted).
  virtual Result<StoredTensor> take(const TensorRequest& request) = 0;

  // Names that the source has and nobody took, sorted.
  [[nodiscard]] virtual std::vector<std::string> untaken() const = 0;

  // Of the files: of what was taken, each tensor once.
  [[nodiscard]] virtual int64_t taken_bytes() const { return 0; }

  // For messages: the file that holds a tensor of that name, or all that could have.
  [[nodiscard]] virtual std::string origin(std::string_view name) const = 0;

 protected:
  TensorSource() = default;
};

// When a file's bytes come into memory: when they are touched, or, with threads of the source's
// own, a window ahead of what is taken. For who copies all of it soon.
enum class Reading : uint8_t { kOnTouch, kAhead };

// FOLDER/model.safetensors, or else the shards that FOLDER/model.safetensors.index.json lists.
// Every shard must be named as a file of the folder itself and hold exactly the tensors that the
// index says. Errors name the file and the tensor.
Result<std::unique_ptr<TensorSource>> open_safetensors(const std::filesystem::path& folder,
                                                       Reading reading = Reading::kOnTouch,
                                                       const FileOpener& opener = MappedFile::open);

// bf16 matrices ~ N(0, 1/cols), to be drawn by the backend; gains ~ 1, small selection biases:
// activations stay of order one and routing is spread. A tensor depends on the seed and its own
// name only (and on the backend that draws it).
std::unique_ptr<TensorSource> random_weights(uint64_t seed);

// Tensors of any name whose values are never to be read, except the small ones, which are zeros:
// enough for the null backend to measure a model.
std::unique_ptr<TensorSource> shapes_only();

}  // namespace switchyard
