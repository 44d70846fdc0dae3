// Times products with 2:4 sparse weights beside those with the same weights stored densely as int4.
// A line for each shape: microseconds, GB/s of the packed bytes, TFLOP/s of the dense matrix.
// Products follow each other in a captured graph, each with weights that are not in cache.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <random>
#include <vector>

#include "kernels/cuda/linear.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/probe.h"
#include "kernels/cuda/sparse.h"

namespace switchyard::cuda {
namespace {

void* device_memory(int64_t bytes) {
  void* memory = nullptr;
  CUDA_CHECK(cudaMalloc(&memory, static_cast<size_t>(bytes)));
  CUDA_CHECK(cudaMemset(memory, 0, static_cast<size_t>(bytes)));
  return memory;
}

// The same bytes, several times.
std::vector<const void*> copies_of(const void* data, int64_t bytes, int count) {
  std::vector<const void*> copies = {data};
  while (static_cast<int>(copies.size()) < count) {
    void* copy = device_memory(bytes);
    CUDA_CHECK(cudaMemcpy(copy, data, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice));
    copies.push_back(copy);
  }
  return copies;
}

// Microseconds of one call of `enqueue`, the median of some runs of a graph of `calls`.
double time_of(const Stream& on, int calls, const std::function<void(int)>& enqueue) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  CUDA_CHECK(cudaStreamBeginCapture(on.stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < calls; ++i) enqueue(i);
  CUDA_CHECK(cudaStreamEndCapture(on.stream, &graph));
  CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
  cudaEvent_t begin = nullptr, end = nullptr;
  CUDA_CHECK(cudaEventCreate(&begin));
  CUDA_CHECK(cudaEventCreate(&end));
  std::vector<double> times;
  constexpr int kWarmUp = 3, kRuns = 15;
  for (int run = 0; run < kWarmUp + kRuns; ++run) {
    CUDA_CHECK(cudaEventRecord(begin, on.stream));
    CUDA_CHECK(cudaGraphLaunch(executable, on.stream));
    CUDA_CHECK(cudaEventRecord(end, on.stream));
    CUDA_CHECK(cudaEventSynchronize(end));
    float milliseconds = 0;
    CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin, end));
    if (run >= kWarmUp) times.push_back(milliseconds * 1e3 / calls);
  }
  CUDA_CHECK(cudaEventDestroy(begin));
  CUDA_CHECK(cudaEventDestroy(end));
  CUDA_CHECK(cudaGraphExecDestroy(executable));
  CUDA_CHECK(cudaGraphDestroy(graph));
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void print(const char* name, int64_t m, int64_t rows, int64_t cols, double us, int64_t bytes) {
  const double flops = 2.0 * static_cast<double>(m * rows * cols);
  std::printf("%-6s M %5d  %5d x %5d  %8.2f us  %7.0f GB/s  %7.1f TFLOP/s\n", name,
              static_cast<int>(m), static_cast<int>(rows), static_cast<int>(cols), us,
              static_cast<double>(bytes) / us * 1e-3, flops / us * 1e-6);
}

void measure(const Stream& on, int64_t rows, int64_t cols) {
  constexpr int kCopies = 16;  // more than the cache holds
  constexpr int64_t kMostRows = 2048;
  const int group = group_for(WeightFormat::kInt4, cols);
  std::vector<float> host(static_cast<size_t>(rows * cols));
  std::mt19937 random(1);
  for (size_t i = 0; i < host.size(); i += 4) {
    const auto bits = static_cast<uint32_t>(random());
    const uint32_t first = bits % 4;
    const uint32_t second = (first + 1 + bits / 4 % 3) % 4;
    host[i + first] = static_cast<float>(bits >> 8 & 0xff) / 128 - 1;
    host[i + second] = static_cast<float>(bits >> 16 & 0xff) / 128 - 1;
  }
  const Tensor source(device_memory(rows * cols * 4), DType::kF32, {rows, cols});
  CUDA_CHECK(cudaMemcpy(source.data, host.data(), host.size() * 4, cudaMemcpyHostToDevice));

  const WeightBytes sparse_size = sparse_bytes(group, rows, cols);
  SparseWeight sparse{.data = device_memory(sparse_size.data),
                      .scale = device_memory(sparse_size.scale),
                      .group = group,
                      .rows = rows,
                      .cols = cols};
  auto* refused = static_cast<uint32_t*>(device_memory(4));
  sparse_pack(on, {.out = sparse, .source = source, .refused = refused});
  const int64_t dense_bytes = packed_data_bytes(WeightFormat::kInt4, rows, cols);
  Weight dense{.data = device_memory(dense_bytes),
               .scale = device_memory(sparse_size.scale),
               .format = WeightFormat::kInt4,
               .group = group,
               .rows = rows,
               .cols = cols};
  pack(on, {.out = dense, .source = source});
  const Tensor x(device_memory(kMostRows * cols * 2), DType::kBf16, {kMostRows, cols});
  const Tensor out(device_memory(kMostRows * rows * 2), DType::kBf16, {kMostRows, rows});
  fill_normal(on, {.out = x, .seed = 1, .deviation = 1});
  CUDA_CHECK(cudaStreamSynchronize(on.stream));
  uint32_t wrong = 0;
  CUDA_CHECK(cudaMemcpy(&wrong, refused, 4, cudaMemcpyDeviceToHost));
  CHECK(wrong == 0);
  const auto sparse_data = copies_of(sparse.data, sparse_size.data, kCopies);
  const auto dense_data = copies_of(dense.data, dense_bytes, kCopies);

  for (const int64_t m : {1, 8, 16, 32, 64, 256, 2048}) {
    const double sparse_us = time_of(on, 2 * kCopies, [&](int i) {
      sparse.data = sparse_data[i % kCopies];
      sparse_product(on, {.x = static_cast<const __nv_bfloat16*>(x.data),
                          .rows = m,
                          .weight = sparse,
                          .out = out.data,
                          .out_stride = rows});
    });
    const double dense_us = time_of(on, 2 * kCopies, [&](int i) {
      dense.data = dense_data[i % kCopies];
      linear(on, {.out = out.first(m), .input = {.x = x.first(m)}, .weight = dense});
    });
    print("sparse", m, rows, cols, sparse_us, sparse_size.data + sparse_size.scale);
    print("dense", m, rows, cols, dense_us, dense_bytes + sparse_size.scale);
  }
}

int run() {
  const Probe probe = probe_device();
  std::printf("%s\n", probe.message.c_str());
  if (!probe.device.has_value()) return 1;
  Stream on{.multiprocessors = probe.device->multiprocessors,
            .capability = probe.device->capability,
            .shared_bytes = probe.device->shared_bytes,
            .workspace_bytes = 64 << 20};
  on.workspace = device_memory(on.workspace_bytes);
  CUDA_CHECK(cudaStreamCreateWithFlags(&on.stream, cudaStreamNonBlocking));
  measure(on, 2048, 7168);
  measure(on, 7168, 2048);
  return 0;
}

}  // namespace
}  // namespace switchyard::cuda

int main() { return switchyard::cuda::run(); }
