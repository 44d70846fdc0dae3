// WeightStore: turns a source's tensors into what the ops take, checks each, and owns the memory
// they lie in. Loading is: take everything that the model needs, then finish().
//
// Matrices are used where they lie (the mapped file), or, when their alignment does not allow that,
// copied once into the backend's memory. Small tensors always become f32 in the backend's memory.
// One thread at a time. Weights stay valid as long as the store, which may be moved.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/weights/tensor_source.h"
#include "kernels/backend.h"

namespace switchyard {

// One of the three matrices of every expert.
enum class ExpertMatrix : uint8_t { kGate, kUp, kDown };

struct ExpertRequest {
  std::string_view prefix;  // "model.layers.2.feed_forward.experts"
  ExpertMatrix which = ExpertMatrix::kGate;
  int64_t experts = 0;  // E
  int64_t hidden = 0;   // H
  int64_t width = 0;    // F
};

class WeightStore {
 public:
  // `backend` must outlive the store.
  WeightStore(std::unique_ptr<TensorSource> source, Backend& backend);
  static Result<WeightStore> open(const std::filesystem::path& folder, Backend& backend);

  // Each fails, naming source and tensor, if it is absent, of another shape, or not a float type.

  Result<Weight> matrix(std::string_view name, int64_t rows, int64_t cols);
  Result<Tensor> gain(std::string_view name, int64_t length);            // [length] f32
  Result<Tensor> selection_bias(std::string_view name, int64_t length);  // [length] f32
  // [channels, kernel] f32 from [channels, 1, kernel] or [channels, kernel].
  Result<Tensor> taps(std::string_view name, int64_t channels, int64_t kernel);
  // gate and up [F, H], down [H, F] of each expert, from either layout on disk:
  //   PREFIX.{e}.w1.weight (gate), w3 (up) [F, H], w2 (down) [H, F]
  //   PREFIX.gate_up_proj [E, 2F, H] (gate rows first), PREFIX.down_proj [E, H, F]
  Result<ExpertWeight> experts(const ExpertRequest& request);
  // A table that the model computes itself, placed beside the weights.
  Result<Tensor> table(std::string_view name, std::span<const float> values);

  // ok when every tensor of the source was taken or is `ignorable`; otherwise names what was not.
  [[nodiscard]] Status finish(std::span<const std::string> ignorable) const;

  // Of all weights handed out; a tensor taken twice counts once.
  [[nodiscard]] int64_t bytes() const { return bytes_; }
  [[nodiscard]] Backend& backend() const { return *backend_; }

 private:
  using Shape = std::vector<int64_t>;
  // A tensor of a usable type and one of the shapes, the first of which is the one to ask for.
  Result<StoredTensor> take(std::string_view name, TensorRole role, std::span<const Shape> shapes);
  // Where the ops may read the tensor: where it lies, or a copy.
  Result<const std::byte*> place(std::string_view name, const StoredTensor& tensor);
  Result<Tensor> small(std::string_view name, TensorRole role, std::span<const Shape> shapes);
  Result<void*> upload(std::string_view name, const void* data, int64_t bytes);
  Result<ExpertWeight> experts_one_by_one(const ExpertRequest& request);
  Result<ExpertWeight> experts_stacked(const ExpertRequest& request);
  Status failure(Code code, std::string_view name, std::string_view what) const;

  std::unique_ptr<TensorSource> source_;  // never null
  Backend* backend_;                      // never null
  std::vector<Buffer> buffers_;           // what could not be used where it lay
  std::map<std::string, const std::byte*, std::less<>> placed_;  // by name
  int64_t bytes_ = 0;
};

}  // namespace switchyard
