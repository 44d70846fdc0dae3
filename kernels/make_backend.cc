// Name -> Backend. Other backends join behind an #if here, and nowhere else.
#include "kernels/make_backend.h"

#include <sched.h>

#include <algorithm>
#include <thread>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/read_bandwidth.h"

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

}  // namespace

MadeBackend make_backend(std::string_view name, const BackendOptions& options) {
  if (name != "auto" && name != "cpu") {
    std::string message = "no backend \"" + std::string(name) + "\"; this build has: auto";
    for (const std::string& known : backend_names()) message += ", " + known;
    return {.backend = nullptr, .message = std::move(message)};
  }
  const int threads = thread_count(options);
  return {.backend = std::make_unique<CpuBackend>(threads),
          .message = "cpu, " + std::to_string(threads) + (threads == 1 ? " thread" : " threads")};
}

std::vector<std::string> backend_names() { return {"cpu"}; }

double measure_read_bandwidth(const BackendOptions& options) {
  cpu::ThreadPool pool(thread_count(options));
  return cpu::measure_read_bandwidth(pool);
}

}  // namespace switchyard
