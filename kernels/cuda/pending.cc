// Ops that are not there yet.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/sample.h"
#include "kernels/cuda/wide.h"

namespace switchyard::cuda {
void attention(const Stream&, const AttentionArgs&, const RaggedBatch&) { CHECK(false); }
void sample(const Stream&, const SampleArgs&) { CHECK(false); }
void wide_product(const Stream&, const WideProduct&) { CHECK(false); }
void wide_experts(const Stream&, const WideExperts&) { CHECK(false); }
}  // namespace switchyard::cuda
