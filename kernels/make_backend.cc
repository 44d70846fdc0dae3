// Name -> Backend. Other backends join behind an #if here, and nowhere else.
#include "kernels/make_backend.h"

#include <sched.h>

#include <algorithm>
#include <thread>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/read_bandwidth.h"
#ifdef SWITCHYARD_WITH_CUDA
#include "kernels/cuda/cuda_backend.h"
#endif

namespace switchyard {
namespace {

constexpr int kMostThreads = 1024;

// The cores this process may run on, which in a container are fewer than the machine's.
int cores() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) return CPU_COUNT(&allowed);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int thread_count(const BackendOptions& options) {
  return std::clamp(options.threads > 0 ? options.threads : cores(), 1, kMostThreads);
}

MadeBackend make_cpu(const BackendOptions& options) {
  const int threads = thread_count(options);
  return {.backend = std::make_unique<CpuBackend>(threads),
          .message = "cpu, " + std::to_string(threads) + (threads == 1 ? " thread" : " threads")};
}

#ifdef SWITCHYARD_WITH_CUDA
constexpr bool kWithCuda = true;
MadeBackend make_cuda() {
  MadeCudaBackend made = make_cuda_backend();
  return {.backend = std::move(made.backend), .message = std::move(made.message)};
}
double cuda_read_bandwidth() { return measure_cuda_read_bandwidth(); }
#else
constexpr bool kWithCuda = false;
MadeBackend make_cuda() { return {.backend = nullptr, .message = "built without CUDA"}; }
double cuda_read_bandwidth() { return 0; }
#endif

}  // namespace

MadeBackend make_backend(std::string_view name, const BackendOptions& options) {
  if (name == "cpu") return make_cpu(options);
  if (name == "cuda" && kWithCuda) return make_cuda();
  if (name == "auto") {
    MadeBackend cuda = make_cuda();
    if (cuda.backend != nullptr) return cuda;
    MadeBackend cpu = make_cpu(options);
    cpu.message += " (" + cuda.message + ")";
    return cpu;
  }
  std::string message = "no backend \"" + std::string(name) + "\"; this build has: auto";
  for (const std::string& known : backend_names()) message += ", " + known;
  return {.backend = nullptr, .message = std::move(message)};
}

std::vector<std::string> backend_names() {
  if (kWithCuda) return {"cpu", "cuda"};
  return {"cpu"};
}

double measure_read_bandwidth(std::string_view backend, const BackendOptions& options) {
  if (backend == "cuda") return cuda_read_bandwidth();
  cpu::ThreadPool pool(thread_count(options));
  return cpu::measure_read_bandwidth(pool);
}

}  // namespace switchyard
