// Model: a config and its weights as ordered stages (embed, layer 0..L-1, head) that call ops on a
// backend. The same text runs on every backend; on the null backend it measures.
// Not here: what a layer is made of (decoder_layer.h), batches, caches' owners, sampling.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/base/result.h"
#include "engine/memory/cache_layout.h"
#include "engine/model/decoder_layer.h"
#include "engine/model/model_config.h"
#include "engine/model/model_step.h"
#include "engine/weights/weight_store.h"

namespace switchyard {

// Const after load: any number of steps, one at a time per backend.
class Model {
 public:
  // Takes from `store` everything that the config names, and nothing may be left over. The store's
  // backend must outlive the model. Errors name the tensor.
  static Result<std::unique_ptr<const Model>> load(ModelConfig config, WeightStore store);

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] int64_t weight_bytes() const { return store_.bytes(); }
  // What was copied from files.
  [[nodiscard]] int64_t read_bytes() const { return store_.read_bytes(); }

  // What sequences keep between steps. block_tokens > 0.
  [[nodiscard]] CacheLayout cache_layout(int block_tokens, DType kv_type) const;

  // Scratch that any step of up to these many tokens and logits takes on the store's backend.
  [[nodiscard]] int64_t scratch_bytes(int max_tokens, int max_logits) const;

  // Enqueues one step: logits[i] = those of the token after batch.logit_token[i]; caches gain the
  // batch's tokens. The batch has tokens. Scratch is as it was when this returns.
  void forward(const ModelStep& step) const;

 private:
  Model(ModelConfig config, WeightStore store)
      : config_(std::move(config)), store_(std::move(store)) {}
  Status take_weights();
  Tensor take_hidden(Scratch& scratch, const StepShape& shape) const;
  Tensor take_logit_rows(Scratch& scratch, const StepShape& shape) const;

  ModelConfig config_;
  WeightStore store_;
  Weight embedding_;  // [V, H]
  std::vector<DecoderLayer> layers_;
  Norm final_norm_;
  Weight head_;  // [V, H]
};

}  // namespace switchyard
