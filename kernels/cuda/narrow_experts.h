// Products with the chosen experts when each has few entries: the narrow kernel over (chosen
// expert, row tiles), and, for few tokens, the whole of expert_down in one step.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"

namespace switchyard::cuda {

// The most entries of an expert that meet its weights at once; 0 when there are too many columns.
// More are taken in turns, and the weights are unpacked for each.
int narrow_expert_rows(const Stream& on, const ExpertWeight& weight);

// out[i] = silu(x[t] gate_e^T) * (x[t] up_e^T) for the entries i = t * K + k, any number of them.
// Needs narrow_expert_rows(gate).
void narrow_expert_up(const Stream& on, const ExpertUpArgs& args);

// expert_work[i] = hidden[i] down_e^T, for every entry. `routed`, here and below: as expert_down()
// of moe.h.
void narrow_expert_down(const Stream& on, const ExpertDownArgs& args, bool routed);

// out[t] = residual[t] + sum over k, in order: each token reads its own experts. top_k <= 8.
void narrow_expert_down_of_each_token(const Stream& on, const ExpertDownArgs& args, bool routed);

}  // namespace switchyard::cuda
