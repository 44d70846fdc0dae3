// How fast this machine reads memory: what a memory-bound step is measured against.
#pragma once

#include "kernels/cpu/thread_pool.h"

namespace switchyard::cpu {

// Bytes per second, the best of several passes over a buffer far larger than the caches; 0 when
// there is not memory enough to measure. Takes about a second.
double measure_read_bandwidth(ThreadPool& pool);

}  // namespace switchyard::cpu
