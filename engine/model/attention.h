// Attention: the grouped-query attention mixer, in three ops.
#pragma once

#include "engine/base/result.h"
#include "engine/model/model_config.h"
#include "engine/model/model_step.h"
#include "engine/model/norm.h"
#include "engine/weights/weight_store.h"

namespace switchyard {

class Attention {
 public:
  struct Place {
    int hidden_size = 0;  // H
    int cache = 0;        // index into Caches::kv()
  };
  static Result<Attention> load(const AttentionSpec& spec,
                                const Norm& norm,
                                const Place& place,
                                WeightStore& store);

  // hidden += out_proj(attention(norm(hidden)));  hidden [T, H]
  void forward(const ModelStep& step, const Tensor& hidden) const;

  // The intermediate tensors of a step.
  struct Work {
    Tensor normed;  // [T, H]
    Tensor q;       // [T, heads * head_dim]
    Tensor kv;      // [T, 2 * kv_heads * head_dim]
    Tensor mixed;   // [T, heads * head_dim]
  };
  [[nodiscard]] Work take_work(Scratch& scratch, const StepShape& shape) const;

 private:
  Attention(const AttentionSpec& spec, const Norm& norm, const Place& place)
      : heads_(spec.heads),
        kv_heads_(spec.kv_heads),
        head_dim_(spec.head_dim),
        scale_(spec.scale),
        head_epsilon_(spec.head_norm_epsilon),
        norm_(norm),
        place_(place) {}

  int heads_, kv_heads_, head_dim_;
  float scale_;
  float head_epsilon_;
  Norm norm_;
  Place place_;
  Weight q_proj_;           // [heads * head_dim, H]
  Weight k_proj_, v_proj_;  // [kv_heads * head_dim, H]
  Weight out_proj_;         // [H, heads * head_dim]
  Tensor q_gain_, k_gain_;  // [head_dim] f32
  Tensor inv_frequency_;    // [head_dim / 2] f32
};

}  // namespace switchyard
