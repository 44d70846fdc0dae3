// Capacity: may a waiting sequence be admitted now? Pure callables over counts; they decide about
// memory only, not about order or tokens of this step.
#pragma once

#include <functional>

namespace switchyard {

struct CapacityQuestion {
  int needed_blocks = 0;  // for all tokens the sequence knows
  int free_blocks = 0;    // after the growth of what runs
  int running = 0;        // sequences that run already
};

// Forward progress rests on one rule for every Capacity: with nothing running, what fits is
// admitted.
using Capacity = std::function<bool(const CapacityQuestion&)>;

// As many as fit now; growth is paid for by preemption.
[[nodiscard]] bool admit_if_it_fits(const CapacityQuestion& question);

// Also leaves one block for each sequence to grow into, so that an admission is not undone by the
// next block border of those that run.
[[nodiscard]] bool admit_with_room_to_grow(const CapacityQuestion& question);

}  // namespace switchyard
