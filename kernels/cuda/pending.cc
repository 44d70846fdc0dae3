// Ops that are not there yet.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/embed.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/moe.h"
#include "kernels/cuda/narrow.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/qkv.h"
#include "kernels/cuda/route.h"
#include "kernels/cuda/sample.h"
#include "kernels/cuda/short_conv.h"
#include "kernels/cuda/wide.h"

namespace switchyard::cuda {
void embed(const Stream&, const EmbedArgs&, const RaggedBatch&) { CHECK(false); }
void norm_input(const Stream&, const NormedInput&) { CHECK(false); }
void linear(const Stream&, const LinearArgs&) { CHECK(false); }
void gated_linear(const Stream&, const GatedLinearArgs&) { CHECK(false); }
void short_conv(const Stream&, const ShortConvArgs&, const RaggedBatch&) { CHECK(false); }
void qkv(const Stream&, const QkvArgs&, const RaggedBatch&) { CHECK(false); }
void attention(const Stream&, const AttentionArgs&, const RaggedBatch&) { CHECK(false); }
void route(const Stream&, const RouteArgs&) { CHECK(false); }
void expert_up(const Stream&, const ExpertUpArgs&) { CHECK(false); }
void expert_down(const Stream&, const ExpertDownArgs&) { CHECK(false); }
void sample(const Stream&, const SampleArgs&) { CHECK(false); }
int narrow_rows(const Stream&, int64_t) { return 0; }
void narrow_product(const Stream&, const NarrowProduct&) { CHECK(false); }
void wide_product(const Stream&, const WideProduct&) { CHECK(false); }
void wide_experts(const Stream&, const WideExperts&) { CHECK(false); }
}  // namespace switchyard::cuda
