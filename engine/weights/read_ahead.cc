#include "engine/weights/read_ahead.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace switchyard {

ReadAhead::ReadAhead(std::vector<Piece> pieces,
                     const Limits& limits,
                     std::function<void(Piece)> read)
    : limits_(limits),
      read_(std::move(read)),
      left_(std::move(pieces)),
      limit_(limits.window_bytes) {
  size_t bytes = 0;
  for (const Piece& piece : left_) ends_.push_back(bytes += piece.size());
  const size_t threads = std::min<size_t>(limits_.threads, bytes / limits_.chunk_bytes);
  for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { read_chunks(); });
}

ReadAhead::~ReadAhead() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ReadAhead::reach(size_t index) {
  const size_t limit = ends_[index] + limits_.window_bytes;
  {
    const std::lock_guard lock(mutex_);
    if (limit <= limit_) return;
    limit_ = limit;
  }
  wake_.notify_all();
}

void ReadAhead::read_chunks() {
  for (Piece chunk; claim(chunk);) read_(chunk);
}

bool ReadAhead::claim(Piece& chunk) {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] { return stopped_ || next_ == left_.size() || claimed_ < limit_; });
  if (stopped_ || next_ == left_.size()) return false;
  Piece& left = left_[next_];
  chunk = left.first(std::min(left.size(), limits_.chunk_bytes));
  left = left.subspan(chunk.size());
  if (left.empty()) ++next_;
  claimed_ += chunk.size();
  return true;
}

void ReadAhead::fault_in(Piece chunk) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t before = reinterpret_cast<uintptr_t>(chunk.data()) % page;  // of its first page
  auto* begin = const_cast<std::byte*>(chunk.data()) - before;
  (void)::madvise(begin, before + chunk.size(), MADV_POPULATE_READ);
}

bool likely_before(const std::string& a, const std::string& b) {
  return ::strverscmp(a.c_str(), b.c_str()) < 0;
}

}  // namespace switchyard
