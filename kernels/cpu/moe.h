// Mixture of experts: the router, and the chosen experts' matrices.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard::cpu {

void route(ThreadPool& pool, const RouteArgs& args);
void expert_up(ThreadPool& pool, const ExpertUpArgs& args);
void expert_down(ThreadPool& pool, const ExpertDownArgs& args);

}  // namespace switchyard::cpu
