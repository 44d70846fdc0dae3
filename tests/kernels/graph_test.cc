// Capture and replay, memory, and the names of backends.
#include <gtest/gtest.h>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/make_backend.h"
#include "tests/kernels/reference.h"

namespace switchyard {
namespace {

using reference::Owned;

TEST(Graph, RunsNothingUntilReplayedAndThenWhatEagerRuns) {
  const Owned table = Owned::random(DType::kBf16, {20, 33}, 1);
  const Owned w = Owned::random(DType::kBf16, {50, 33}, 2);
  std::vector<int32_t> token = {3, 19, 0};
  RaggedBatch batch;
  batch.num_tokens = 3;
  batch.token = token.data();
  CpuBackend backend(2);
  const auto step = [&](const Owned& hidden, const Owned& out) {
    backend.embed({.out = hidden.view(), .table = table.weight()}, batch);
    backend.linear({.out = out.view(), .input = {.x = hidden.view()}, .weight = w.weight()});
  };
  const Owned hidden = Owned::poisoned(DType::kF32, {3, 33});
  const Owned replayed = Owned::poisoned(DType::kF32, {3, 50});
  const Owned copied = Owned::poisoned(DType::kF32, {3, 50});
  backend.begin_capture();
  step(hidden, replayed);
  backend.copy(copied.view().data, replayed.view().data, copied.view().bytes());
  const std::unique_ptr<Graph> graph = backend.end_capture();
  EXPECT_TRUE(std::isnan(hidden.at(0)));
  EXPECT_TRUE(std::isnan(copied.at(0)));

  batch.num_tokens = 1;  // the count was frozen; what the arrays hold is read at replay
  for (const int32_t first : {7, 12}) {
    token[0] = first;
    graph->replay();
    batch.num_tokens = 3;
    const Owned eager_hidden = Owned::poisoned(DType::kF32, {3, 33});
    const Owned eager = Owned::poisoned(DType::kF32, {3, 50});
    step(eager_hidden, eager);
    EXPECT_TRUE(replayed.same_bits(eager));
    EXPECT_TRUE(copied.same_bits(eager));
  }
}

TEST(CpuMemory, IsZeroAlignedAndOwned) {
  CpuBackend backend(1);
  for (const int64_t bytes : {0, 1, 63, 4096, 1 << 20}) {
    const Buffer buffer = backend.allocate(bytes);
    ASSERT_FALSE(buffer.empty());
    EXPECT_EQ(buffer.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0u);
    for (int64_t i = 0; i < bytes; ++i) ASSERT_EQ(static_cast<char*>(buffer.data())[i], 0);
  }
}

TEST(CpuMemory, CarriesBytesThereAndBack) {
  CpuBackend backend(1);
  const Buffer one = backend.allocate(100), two = backend.allocate(100);
  const std::string sent = "the same bytes", blank(sent.size(), ' ');
  backend.upload(one.data(), sent.data(), static_cast<int64_t>(sent.size()));
  backend.copy(two.data(), one.data(), 100);
  std::string received = blank;
  backend.synchronize();
  backend.download(received.data(), two.data(), static_cast<int64_t>(received.size()));
  EXPECT_EQ(received, sent);
}

TEST(MakeBackend, MakesTheCpuBackendByName) {
  const MadeBackend made = make_backend("cpu", {.threads = 2});
  ASSERT_NE(made.backend, nullptr) << made.message;
  EXPECT_EQ(made.backend->name(), "cpu");
  EXPECT_EQ(made.message, "cpu, 2 threads");
}

// The device, or the CPU with the words in which the device was refused.
TEST(MakeBackend, TakesADeviceIfThereIsOneAndElseSaysWhyNot) {
  const MadeBackend made = make_backend("auto", {.threads = 2});
  ASSERT_NE(made.backend, nullptr) << made.message;
  const MadeBackend device = make_backend("cuda", {});
  if (device.backend != nullptr) {
    EXPECT_EQ(made.backend->name(), "cuda");
    EXPECT_EQ(made.message, device.message);
    return;
  }
  EXPECT_EQ(made.backend->name(), "cpu");
  const bool built_with_it = backend_names() == std::vector<std::string>{"cpu", "cuda"};
  const std::string why = built_with_it ? device.message : "built without CUDA";
  EXPECT_EQ(made.message, "cpu, 2 threads (" + why + ")");
}

TEST(MakeBackend, NamesWhatThereIsWhenAskedForSomethingElse) {
  const MadeBackend made = make_backend("abacus", {});
  EXPECT_EQ(made.backend, nullptr);
  std::string names = "auto";
  for (const std::string& name : backend_names()) names += ", " + name;
  EXPECT_EQ(made.message, "no backend \"abacus\"; this build has: " + names);
  EXPECT_EQ(names.substr(0, 9), "auto, cpu");
}

TEST(ReadBandwidth, IsPlausible) {
  const double bytes_per_second = measure_read_bandwidth("cpu", {.threads = 2});
  EXPECT_GT(bytes_per_second, 1e8);
  EXPECT_LT(bytes_per_second, 1e13);
}

}  // namespace
}  // namespace switchyard
