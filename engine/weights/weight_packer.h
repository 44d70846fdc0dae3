// WeightPacker: brings matrices into the backend's layouts, one after the other, by way of one
// piece of staging memory as large as the largest of them. Knows neither names nor who owns the
// result. One thread at a time.
#pragma once

#include <vector>

#include "engine/base/result.h"
#include "engine/weights/matrix_source.h"
#include "kernels/backend.h"

namespace switchyard {

class WeightPacker {
 public:
  // `backend` must outlive it.
  explicit WeightPacker(Backend& backend) : backend_(&backend) {}

  // Writes the memory behind `out`, of the source's shape. Codes of F8_E4M3 that stay fp8 stay as
  // they are: block and row scales are written out for every row and group of columns.
  // Errors: no staging memory (kResourceExhausted), NaN (kInvalidArgument).
  Status pack(const MatrixSource& source, const Weight& out, ScaleChoice scales);

  // Gives the staging memory back, when nothing uses it any more.
  void release();

 private:
  // Host bytes in `staging`, in the order of what is enqueued; null if there is no memory.
  void* stage(const void* data, int64_t bytes, Buffer& staging);
  bool reserve(int64_t bytes, Buffer& staging);

  Backend* backend_;  // never null
  Buffer staging_, staged_scales_;
  std::vector<float> expanded_;  // of F8_E4M3, on the host
};

}  // namespace switchyard
