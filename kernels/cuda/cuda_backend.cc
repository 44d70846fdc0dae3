// Wires ops to their stems.
#include "kernels/cuda/cuda_backend.h"

#include <cstring>
#include <utility>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/embed.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/moe.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/probe.h"
#include "kernels/cuda/qkv.h"
#include "kernels/cuda/route.h"
#include "kernels/cuda/sample.h"
#include "kernels/cuda/short_conv.h"
#include "kernels/cuda/tile_layout.h"

namespace switchyard {
namespace {

constexpr int64_t kWorkspaceBytes = 64 << 20;

class CudaGraph final : public Graph {
 public:
  CudaGraph(cudaGraphExec_t graph, cudaStream_t stream) : graph_(graph), stream_(stream) {}
  ~CudaGraph() override { CUDA_CHECK(cudaGraphExecDestroy(graph_)); }
  void replay() override { CUDA_CHECK(cudaGraphLaunch(graph_, stream_)); }

 private:
  cudaGraphExec_t graph_;
  cudaStream_t stream_;
};

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(const cuda::Device& device)
      : stream_(cuda::make_stream(device)), uploads_(stream_) {
    workspace_ = allocate(kWorkspaceBytes);
    CHECK(!workspace_.empty());
    on_ = {.stream = stream_.get(),
           .multiprocessors = device.multiprocessors,
           .capability = device.capability,
           .shared_bytes = device.shared_bytes,
           .workspace = workspace_.data(),
           .workspace_bytes = workspace_.bytes()};
  }
  ~CudaBackend() override { CUDA_CHECK(cudaStreamSynchronize(stream_.get())); }

  [[nodiscard]] std::string_view name() const override { return "cuda"; }
  [[nodiscard]] DType activation_type() const override { return DType::kBf16; }
  [[nodiscard]] bool reads_host_memory() const override { return false; }
  [[nodiscard]] bool multiplies(WeightFormat format) const override {
    return format == WeightFormat::kBf16 || is_quantised(format);
  }
  [[nodiscard]] WeightBytes weight_bytes(WeightFormat format,
                                         int group,
                                         int64_t rows,
                                         int64_t cols) const override {
    return {.data = cuda::packed_data_bytes(format, rows, cols),
            .scale = cuda::packed_scale_bytes(format, group, rows, cols)};
  }

  Buffer allocate(int64_t bytes) override { return cuda::allocate(stream_, bytes); }
  [[nodiscard]] int64_t free_bytes() const override { return cuda::free_bytes(); }
  void upload(void* device, const void* host, int64_t bytes) override {
    CHECK(!capturing_);
    uploads_.upload(device, host, bytes);
  }
  void download(void* host, const void* device, int64_t bytes) override {
    CHECK(!capturing_);
    if (bytes == 0) return;
    CUDA_CHECK(cudaMemcpyAsync(host, device, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost,
                               stream_.get()));
    synchronize();
  }
  void copy(void* to, const void* from, int64_t bytes) override {
    if (bytes == 0) return;
    CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice,
                               stream_.get()));
  }
  void synchronize() override { CUDA_CHECK(cudaStreamSynchronize(stream_.get())); }
  std::unique_ptr<Readback> make_readback(int64_t bytes) override {
    return cuda::make_readback(stream_, bytes);
  }

  void begin_capture() override {
    CHECK(!capturing_);
    capturing_ = true;
    CUDA_CHECK(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal));
  }
  std::unique_ptr<Graph> end_capture() override {
    CHECK(capturing_);
    capturing_ = false;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t runnable = nullptr;
    CUDA_CHECK(cudaStreamEndCapture(stream_.get(), &graph));
    CUDA_CHECK(cudaGraphInstantiate(&runnable, graph, 0));
    CUDA_CHECK(cudaGraphDestroy(graph));
    return std::make_unique<CudaGraph>(runnable, stream_.get());
  }

 private:
  void do_pack(const PackArgs& args) override { cuda::pack(on_, args); }
  void do_fill_normal(const NormalArgs& args) override { cuda::fill_normal(on_, args); }
  void do_embed(const EmbedArgs& args, const RaggedBatch& batch) override {
    cuda::embed(on_, args, batch);
  }
  void do_linear(const LinearArgs& args) override { cuda::linear(on_, args); }
  void do_gated_linear(const GatedLinearArgs& args) override { cuda::gated_linear(on_, args); }
  void do_short_conv(const ShortConvArgs& args, const RaggedBatch& batch) override {
    cuda::short_conv(on_, args, batch);
  }
  void do_qkv(const QkvArgs& args, const RaggedBatch& batch) override {
    cuda::qkv(on_, args, batch);
  }
  void do_attention(const AttentionArgs& args, const RaggedBatch& batch) override {
    cuda::attention(on_, args, batch);
  }
  void do_route(const RouteArgs& args) override {
    cuda::route(on_, args);
    routing_ = true;
  }
  void do_expert_up(const ExpertUpArgs& args) override {
    cuda::expert_up(on_, args);
    routing_ = routing_ && args.x.dim(0) == 0;
  }
  void do_expert_down(const ExpertDownArgs& args) override {
    cuda::expert_down(on_, args, !routing_);
  }
  void do_sample(const SampleArgs& args) override { cuda::sample(on_, args); }

  cuda::StreamHandle stream_;
  cuda::UploadRing uploads_;
  Buffer workspace_;
  cuda::Stream on_;
  bool routing_ = false;  // a route was enqueued, and nothing since that waits for it
  bool capturing_ = false;
};

}  // namespace

MadeCudaBackend make_cuda_backend() {
  const cuda::Probe probe = cuda::probe_device();
  if (!probe.device) return {.backend = nullptr, .message = probe.message};
  return {.backend = std::make_unique<CudaBackend>(*probe.device), .message = probe.message};
}

}  // namespace switchyard
