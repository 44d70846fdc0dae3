#include "engine/weights/read_ahead.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>

#include "engine/weights/mapped_file.h"
#include "engine/weights/tensor_source.h"
#include "tests/engine/weights/checkpoint_files.h"

namespace switchyard {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr size_t kChunk = 8;

// Pieces of memory that is only ever pointed at, and what a ReadAhead read of it.
class Reads {
 public:
  explicit Reads(const std::vector<size_t>& sizes, std::chrono::milliseconds each = {})
      : each_(each) {
    for (const size_t size : sizes) {
      pieces_.emplace_back(memory_.get() + bytes_, size);
      bytes_ += size;
    }
  }

  [[nodiscard]] std::unique_ptr<ReadAhead> ahead(int threads, size_t window) {
    return std::make_unique<ReadAhead>(
        pieces_,
        ReadAhead::Limits{.threads = threads, .chunk_bytes = kChunk, .window_bytes = window},
        [this](Piece chunk) { read(chunk); });
  }

  // Each chunk as (where it begins, bytes), in the order of reading.
  [[nodiscard]] std::vector<std::pair<size_t, size_t>> chunks() {
    const std::lock_guard lock(mutex_);
    return chunks_;
  }
  [[nodiscard]] size_t bytes_read() {
    size_t sum = 0;
    for (const auto& [begin, size] : chunks()) sum += size;
    return sum;
  }
  void wait_for(size_t bytes) {
    while (bytes_read() < bytes) std::this_thread::yield();
  }
  [[nodiscard]] size_t bytes() const { return bytes_; }
  [[nodiscard]] int running() const { return running_; }

 private:
  void read(Piece chunk) {
    ++running_;
    std::this_thread::sleep_for(each_);
    {
      const std::lock_guard lock(mutex_);
      chunks_.emplace_back(chunk.data() - memory_.get(), chunk.size());
    }
    --running_;
  }

  const std::chrono::milliseconds each_;
  const std::unique_ptr<std::byte[]> memory_ = std::make_unique<std::byte[]>(1 << 16);
  std::vector<Piece> pieces_;
  size_t bytes_ = 0;
  std::mutex mutex_;
  std::vector<std::pair<size_t, size_t>> chunks_;
  std::atomic<int> running_ = 0;
};

TEST(ReadAhead, ReadsThePiecesInTheirOrderChunkByChunk) {
  Reads reads({20, 0, 8, 3});
  const auto ahead = reads.ahead(1, 1000);
  reads.wait_for(reads.bytes());
  EXPECT_THAT(reads.chunks(), ElementsAre(std::pair(0, 8), std::pair(8, 8), std::pair(16, 4),
                                          std::pair(20, 0), std::pair(20, 8), std::pair(28, 3)));
}

TEST(ReadAhead, ReadsEverythingOnceWithManyThreads) {
  Reads reads(std::vector<size_t>(100, 20));
  auto ahead = reads.ahead(4, 10'000);
  reads.wait_for(reads.bytes());
  ahead.reset();
  std::vector<std::pair<size_t, size_t>> chunks = reads.chunks();
  std::sort(chunks.begin(), chunks.end());
  size_t next = 0;
  for (const auto& [begin, size] : chunks) {
    EXPECT_EQ(begin, next);
    next = begin + size;
  }
  EXPECT_EQ(next, reads.bytes());
}

TEST(ReadAhead, StaysWithinItsWindow) {
  Reads reads(std::vector<size_t>(100, kChunk));
  auto ahead = reads.ahead(3, 5 * kChunk);
  const auto settles_at = [&](size_t chunks) {
    reads.wait_for(chunks * kChunk);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return reads.bytes_read() == chunks * kChunk;
  };
  EXPECT_TRUE(settles_at(5));
  ahead->reach(0);
  EXPECT_TRUE(settles_at(6));
  ahead->reach(40);  // what lies between was not asked for, but may be
  EXPECT_TRUE(settles_at(46));
  ahead->reach(7);  // behind
  EXPECT_TRUE(settles_at(46));
  ahead.reset();  // while its threads wait
  EXPECT_EQ(reads.bytes_read(), 46 * kChunk);
}

TEST(ReadAhead, EndsWithTheChunksInHand) {
  Reads reads(std::vector<size_t>(1000, kChunk), std::chrono::milliseconds(2));
  auto ahead = reads.ahead(3, 1 << 20);
  reads.wait_for(kChunk);
  ahead.reset();
  EXPECT_EQ(reads.running(), 0);
  EXPECT_LT(reads.bytes_read(), reads.bytes());
}

TEST(ReadAhead, LeavesAloneWhatIsLessThanAChunk) {
  Reads reads({3, 4});
  auto ahead = reads.ahead(4, 1000);
  ahead->reach(1);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ahead.reset();
  EXPECT_THAT(reads.chunks(), IsEmpty());
}

TEST(ReadAhead, BringsThePagesOfAChunkIntoMemory) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const TemporaryFolder folder;
  folder.write("file", std::string(9 * page + 1, 'x'));
  const std::string path = folder.path() / "file";
  const int file = open(path.c_str(), O_RDONLY);
  ASSERT_GE(file, 0);
  fdatasync(file);
  posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  close(file);
  const Result<MappedFile> mapped = MappedFile::open(path);
  ASSERT_TRUE(mapped.ok());
  const Piece bytes = mapped->bytes();
  ReadAhead::fault_in(bytes.subspan(page + 5, 2 * page));  // of three pages
  ReadAhead::fault_in(bytes.last(1));
  ReadAhead::fault_in(bytes.last(0));
  std::vector<unsigned char> resident(10);
  ASSERT_EQ(mincore(const_cast<std::byte*>(bytes.data()), bytes.size(), resident.data()), 0);
  for (const size_t index : {1, 2, 3, 9}) EXPECT_EQ(resident[index] & 1, 1) << index;
}

TEST(ReadAhead, ExpectsLayerByLayer) {
  EXPECT_TRUE(likely_before("model.layers.2.w1", "model.layers.10.w1"));
  EXPECT_FALSE(likely_before("model.layers.10.w1", "model.layers.2.w1"));
  EXPECT_TRUE(likely_before("model.layers.2.experts.9.w3", "model.layers.2.experts.10.w1"));
  EXPECT_TRUE(likely_before("model.embed_tokens", "model.layers.0.w1"));
  EXPECT_FALSE(likely_before("x", "x"));
}

// Large enough for threads, in two files, and taken in another order than expected.
TEST(ReadAhead, ChangesNothingOfWhatASourceGives) {
  constexpr int64_t kCount = int64_t{3} << 20;  // 12 MiB of f32
  const TemporaryFolder folder;
  folder.write("one.safetensors",
               file_of({counting("10", {kCount}, 1), FileTensor{"2", "F32", {0}, ""}}));
  folder.write("two.safetensors", file_of({counting("1", {kCount}, 2)}, 3));
  folder.write("model.safetensors.index.json",
               R"({"weight_map": {"10": "one.safetensors", "2": "one.safetensors",
                                  "1": "two.safetensors"}})");
  Result<std::unique_ptr<TensorSource>> source = open_safetensors(folder.path(), Reading::kAhead);
  ASSERT_TRUE(source.ok()) << source.status().message();
  EXPECT_EQ((*source)->taken_bytes(), 0);
  for (const auto& [name, first] : {std::pair("10", 1.0F), std::pair("1", 2.0F)}) {
    const Result<StoredTensor> tensor = (*source)->take({.name = name, .shape = {kCount}});
    ASSERT_TRUE(tensor.ok());
    for (const int64_t at : {int64_t{0}, kCount / 2, kCount - 1}) {
      float value = 0;
      std::memcpy(&value, tensor->data + at * 4, 4);
      EXPECT_EQ(value, first + static_cast<float>(at)) << name;
    }
  }
  EXPECT_EQ((*source)->taken_bytes(), 2 * kCount * 4);
}

}  // namespace
}  // namespace switchyard
