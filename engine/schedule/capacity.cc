// Capacity: may a waiting sequence be admitted now?
#include "engine/schedule/capacity.h"

namespace switchyard {

bool admit_if_it_fits(const CapacityQuestion& question) {
  return question.needed_blocks <= question.free_blocks;
}

bool admit_with_room_to_grow(const CapacityQuestion& question) {
  return question.needed_blocks <= question.free_blocks - question.running;
}

}  // namespace switchyard
