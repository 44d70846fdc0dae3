// Wires ops to their stems. A captured op is a closure over its arguments and the batch's counts;
// what the batch's arrays hold is read when the graph is replayed, as on a device.
#include "kernels/cpu/cpu_backend.h"

#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/embed.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/moe.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/sample.h"
#include "kernels/cpu/short_conv.h"
#include "kernels/host_readback.h"

namespace switchyard {
namespace {

constexpr int64_t kAlignment = 64;

class CpuGraph final : public Graph {
 public:
  explicit CpuGraph(std::vector<std::function<void()>> ops) : ops_(std::move(ops)) {}
  void replay() override {
    for (const auto& op : ops_) op();
  }

 private:
  const std::vector<std::function<void()>> ops_;
};

}  // namespace

CpuBackend::CpuBackend(int threads) : pool_(threads) {}

bool CpuBackend::multiplies(WeightFormat) const { return true; }

WeightBytes CpuBackend::weight_bytes(WeightFormat format,
                                     int group,
                                     int64_t rows,
                                     int64_t cols) const {
  return cpu::bytes_of_rows(format, group, cols, rows);
}

int64_t CpuBackend::free_bytes() const { return std::numeric_limits<int64_t>::max(); }

std::unique_ptr<Readback> CpuBackend::make_readback(int64_t bytes) {
  return std::make_unique<HostReadback>(bytes);
}

void CpuBackend::do_pack(const PackArgs& args) {
  CHECK(!capture_);
  cpu::pack(pool_, args);
}

void CpuBackend::do_fill_normal(const NormalArgs& args) {
  CHECK(!capture_);
  cpu::fill_normal(pool_, args);
}

// Memory the system hands out page by page is zero already, so a large pool costs nothing until it
// is used; calloc knows that.
Buffer CpuBackend::allocate(int64_t bytes) {
  CHECK(bytes >= 0);
  void* memory = std::calloc(1, static_cast<size_t>(bytes) + kAlignment);
  if (memory == nullptr) return {};
  const auto address = reinterpret_cast<uintptr_t>(memory);
  const uintptr_t padding = kAlignment - address % kAlignment;
  return Buffer(static_cast<char*>(memory) + padding, bytes,
                [memory](void*) { std::free(memory); });
}

void CpuBackend::upload(void* device, const void* host, int64_t bytes) {
  CHECK(!capture_);
  if (bytes > 0) std::memcpy(device, host, static_cast<size_t>(bytes));
}

void CpuBackend::download(void* host, const void* device, int64_t bytes) {
  CHECK(!capture_);
  if (bytes > 0) std::memcpy(host, device, static_cast<size_t>(bytes));
}

void CpuBackend::copy(void* to, const void* from, int64_t bytes) {
  run([=] {
    if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
  });
}

void CpuBackend::begin_capture() {
  CHECK(!capture_);
  capture_.emplace();
}

std::unique_ptr<Graph> CpuBackend::end_capture() {
  CHECK(capture_.has_value());
  auto graph = std::make_unique<CpuGraph>(std::move(*capture_));
  capture_.reset();
  return graph;
}

template <typename Op>
void CpuBackend::run(Op op) {
  if (capture_) {
    capture_->push_back(std::move(op));
  } else {
    op();
  }
}

void CpuBackend::do_embed(const EmbedArgs& args, const RaggedBatch& batch) {
  run([=, this] { cpu::embed(pool_, args, batch); });
}

void CpuBackend::do_linear(const LinearArgs& args) {
  run([=, this] { cpu::linear(pool_, args); });
}

void CpuBackend::do_gated_linear(const GatedLinearArgs& args) {
  run([=, this] { cpu::gated_linear(pool_, args); });
}

void CpuBackend::do_short_conv(const ShortConvArgs& args, const RaggedBatch& batch) {
  run([=, this] { cpu::short_conv(pool_, args, batch); });
}

void CpuBackend::do_qkv(const QkvArgs& args, const RaggedBatch& batch) {
  run([=, this] { cpu::qkv(pool_, args, batch); });
}

void CpuBackend::do_attention(const AttentionArgs& args, const RaggedBatch& batch) {
  run([=, this] { cpu::attention(pool_, args, batch); });
}

void CpuBackend::do_route(const RouteArgs& args) {
  run([=, this] { cpu::route(pool_, args); });
}

void CpuBackend::do_expert_up(const ExpertUpArgs& args) {
  run([=, this] { cpu::expert_up(pool_, args); });
}

void CpuBackend::do_expert_down(const ExpertDownArgs& args) {
  run([=, this] { cpu::expert_down(pool_, args); });
}

void CpuBackend::do_sample(const SampleArgs& args) {
  run([=, this] { cpu::sample(pool_, args); });
}

}  // namespace switchyard
