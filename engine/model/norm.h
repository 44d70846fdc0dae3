// Norm: the RMSNorm in front of a unit, which the unit's first op computes.
#pragma once

#include "kernels/backend.h"

namespace switchyard {

struct Norm {
  Tensor gain;  // [H] f32
  float epsilon = 0;

  // RMSNorm(x) * gain, kept in `normed`, which has x's shape.
  [[nodiscard]] NormedInput of(const Tensor& x, const Tensor& normed) const {
    return {.x = x, .gain = gain, .epsilon = epsilon, .normed = normed};
  }
};

}  // namespace switchyard
