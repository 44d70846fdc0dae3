// ReadAhead: brings pieces of mapped files into memory before whoever loads them comes to them,
// several reads at a time, because one page fault after the other leaves most of a disk idle.
// Only ever a hint: what it does not read, or has no right order for, is read when it is touched.
//
// The window bounds it, so that what was read is still there when it is needed, however much less
// memory than files a machine has. Threads: its own; reach() and the destructor from any one.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace switchyard {

using Piece = std::span<const std::byte>;  // of a mapped file

class ReadAhead {
 public:
  struct Limits {
    int threads = 4;                        // fewer if there are not so many chunks
    size_t chunk_bytes = size_t{8} << 20;   // of one read
    size_t window_bytes = size_t{2} << 30;  // of pieces begun, beyond the last that was reached
  };

  // Begins to read: the pieces, in this order. Their memory must outlive this object.
  explicit ReadAhead(std::vector<Piece> pieces) : ReadAhead(std::move(pieces), {}, fault_in) {}
  ReadAhead(std::vector<Piece> pieces, const Limits& limits, std::function<void(Piece)> read);
  ~ReadAhead();  // waits for the chunks that are being read, and no others
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  // Whoever loads has come to pieces[index]: up to a window beyond it may be read.
  void reach(size_t index);

  // Waits until every page of the chunk is in memory and mapped. Whatever goes wrong (also: a Linux
  // before 5.14) is left to who touches the pages.
  static void fault_in(Piece chunk);

 private:
  void read_chunks();
  // The next chunk, as soon as the window allows it. False: there are no more.
  bool claim(Piece& chunk);

  const Limits limits_;
  const std::function<void(Piece)> read_;
  std::vector<size_t> ends_;  // of each piece, in bytes from the beginning of the first
  std::mutex mutex_;
  std::condition_variable wake_;
  // Under the mutex.
  std::vector<Piece> left_;  // what of each piece nobody has claimed
  size_t next_ = 0;          // the first piece of which something is left
  size_t claimed_ = 0;       // bytes
  size_t limit_;             // where claiming stops
  bool stopped_ = false;
  std::vector<std::thread> threads_;  // last: they run on the members above
};

// Whether a model is likely to take tensor `a` before `b`: layer by layer, 2 before 10.
bool likely_before(const std::string& a, const std::string& b);

}  // namespace switchyard
