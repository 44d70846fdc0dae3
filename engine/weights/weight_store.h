// WeightStore: turns a source's tensors into what the ops take, checks each, and owns the memory
// they lie in. Loading is: take everything that the model needs, then finish().
//
// Matrices that products read are packed by the backend, in the format that the plan says; where
// they are plain numbers already and the backend reads host memory they are used where they lie
// (the mapped file), or, when their alignment does not allow that, copied once. Small tensors
// always become f32 in the backend's memory.
//
// A checkpoint may itself be fp8: F8_E4M3 tensors NAME with NAME_scale_inv (f32, f16 or bf16, one
// for each block of 128 x 128) or NAME_scale (one for each row). Kept as fp8 their codes stay what
// they are, with the scales written out for every row and 128 (64, 32) columns.
//
// One thread at a time. Weights stay valid as long as the store, which may be moved.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/result.h"
#include "engine/weights/matrix_source.h"
#include "engine/weights/tensor_source.h"
#include "engine/weights/weight_packer.h"
#include "engine/weights/weight_plan.h"
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
  // `backend` must outlive the store and multiply what the plan asks for.
  WeightStore(std::unique_ptr<TensorSource> source, Backend& backend, const WeightPlan& plan = {});
  static Result<WeightStore> open(const std::filesystem::path& folder,
                                  Backend& backend,
                                  const WeightPlan& plan = {});

  // Each fails, naming source and tensor, if it is absent, of another shape, not a float type (or,
  // of a product's matrix, F8_E4M3 with scales), or if there is no memory for it.

  Result<Weight> matrix(std::string_view name, int64_t rows, int64_t cols);  // as plan.weights says
  Result<Weight> head(std::string_view name, int64_t rows, int64_t cols);    // plan.head_choice()
  Result<Weight> router(std::string_view name, int64_t rows, int64_t cols);  // never quantised
  // Row-major floats as they are stored, for looking rows up.
  Result<Weight> embedding(std::string_view name, int64_t rows, int64_t cols);
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
  // Nothing more can be taken.
  Status finish(std::span<const std::string> ignorable);

  // Of all weights handed out; a tensor taken twice in one format counts once.
  [[nodiscard]] int64_t bytes() const { return bytes_; }
  // What finish() saw copied from files: 0 of generated weights, and where files are used in place.
  [[nodiscard]] int64_t read_bytes() const { return read_bytes_; }
  [[nodiscard]] Backend& backend() const { return *backend_; }

 private:
  using Shape = std::vector<int64_t>;
  // A matrix, or a stack of them, and the scales of all if it is fp8.
  struct Taken {
    StoredTensor tensor;
    std::vector<float> scales;
    int64_t block_rows = 1, block_cols = 1;  // of the scales
  };
  // One expert's matrix: these rows of a matrix of the tensor of that name.
  struct ExpertPart {
    std::string name;
    std::shared_ptr<const Taken> taken;
    int64_t index = 0;  // of the matrix in the stack
    int64_t first_row = 0;
  };

  // A tensor of one of the shapes, the first of which is the one to ask for.
  Result<StoredTensor> take(std::string_view name, TensorRole role, std::span<const Shape> shapes);
  // A tensor of plain numbers.
  Result<StoredTensor> take_floats(std::string_view name,
                                   TensorRole role,
                                   std::span<const Shape> shapes);
  // A matrix, or a stack of them, of a type that products can have.
  Result<Taken> take_matrix(std::string_view name, const Shape& shape);
  static MatrixSource rows_of(const Taken& taken, int64_t index, int64_t first_row, int64_t rows);
  Status take_scales(std::string_view name, Taken& taken);

  Result<Weight> product(std::string_view name, const Shape& shape, WeightChoice choice);
  [[nodiscard]] bool in_place(WeightFormat format, const StoredTensor& tensor) const;
  // Where the ops may read a tensor's floats row-major: where they lie, a copy, or made up.
  Result<const std::byte*> place(std::string_view name, const StoredTensor& tensor);
  Result<Tensor> small(std::string_view name, TensorRole role, std::span<const Shape> shapes);
  Result<void*> allocate(std::string_view name, int64_t bytes);
  Result<void*> upload(std::string_view name, const void* data, int64_t bytes);

  Result<std::vector<ExpertPart>> experts_one_by_one(const ExpertRequest& request,
                                                     const Shape& shape);
  Result<std::vector<ExpertPart>> experts_stacked(const ExpertRequest& request, const Shape& shape);
  // Where each of the matrices lies, and its scales if the format has any.
  struct Places {
    std::vector<const void*> data, scale;
  };
  Result<Places> place_experts(const std::vector<ExpertPart>& parts, const ExpertWeight& weight);
  Result<Places> pack_experts(const std::vector<ExpertPart>& parts, const ExpertWeight& weight);

  Status failure(Code code, std::string_view name, std::string_view what) const;

  // Not null before finish(). After it only if some weights are used where they lie.
  std::unique_ptr<TensorSource> source_;
  Backend* backend_;  // never null
  WeightPlan plan_;
  WeightPacker packer_;
  std::vector<Buffer> buffers_;  // what could not be used where it lay
  std::map<std::string, const std::byte*, std::less<>> placed_;  // row-major floats
  std::map<std::pair<std::string, WeightFormat>, Weight> packed_;
  int64_t bytes_ = 0;
  int64_t read_bytes_ = 0;
};

}  // namespace switchyard
