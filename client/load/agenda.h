// Agenda: values that fall due at a time, earliest first, equal times in the order of add().
// One thread's; looks at no clock.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace switchyard {

template <typename T>
class Agenda {
 public:
  void add(int64_t at_ns, T value) {
    heap_.push_back({at_ns, count_++, std::move(value)});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }
  [[nodiscard]] bool empty() const { return heap_.empty(); }
  // Of the earliest; INT64_MAX: there is none.
  [[nodiscard]] int64_t next_ns() const { return heap_.empty() ? INT64_MAX : heap_[0].at_ns; }
  // Not to be called when empty.
  T take() {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    T value = std::move(heap_.back().value);
    heap_.pop_back();
    return value;
  }

 private:
  struct Entry {
    int64_t at_ns;
    uint64_t order;
    T value;
  };
  static bool later(const Entry& a, const Entry& b) {
    return std::pair(a.at_ns, a.order) > std::pair(b.at_ns, b.order);
  }

  std::vector<Entry> heap_;
  uint64_t count_ = 0;
};

}  // namespace switchyard
