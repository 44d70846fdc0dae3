// Decode attention of few rows, by teams that are thread block clusters: their blocks hand each
// other sums through shared memory, and as a rule nothing goes through memory to be added up.
#include "kernels/cuda/attention_decode.cuh"
#include "kernels/cuda/sm90/cluster.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kMostBlocks = 8;  // that every device can put into a cluster

template <typename Shape>
class ClusterTeam {
 public:
  // What the team's blocks send each of them: their sums over its dimensions.
  struct Received {
    float4 sum[Shape::kRows * Shape::kDim / 4];  // [blocks][kRows][vectors of a block]
    Softmax softmax[kMostBlocks][Shape::kRows];
    uint64_t barrier;  // a phase for each piece: all that others send
  };
  static constexpr int kSharedBytes = static_cast<int>(sizeof(Received));

  __device__ explicit ClusterTeam(char* shared) : received_(*reinterpret_cast<Received*>(shared)) {}
  static __device__ int blocks() { return static_cast<int>(blocks_in_cluster()); }
  static __device__ int block() { return static_cast<int>(blockIdx.x) & (blocks() - 1); }
  static __device__ int index() { return static_cast<int>(blockIdx.x) >> (__ffs(blocks()) - 1); }

  __device__ __forceinline__ void begin(int queries) {
    if (threadIdx.x == 0) {
      if (round_ == 0) {
        set_up_barrier(barrier(), 1);
        publish_barriers();
      }
      constexpr int kSumBytes = Shape::kDim * static_cast<int>(sizeof(float));
      constexpr int kSoftmaxBytes = static_cast<int>(sizeof(Softmax));
      expect_bytes(barrier(), queries * (kSumBytes + blocks() * kSoftmaxBytes));
    }
    __syncwarp();
    if (round_ == 0) {
      arrive_at_cluster();
    } else {
      release_to_cluster();
    }
  }

  template <typename Write>
  __device__ __forceinline__ void merge(const typename Shape::Shares& shares,
                                        int queries,
                                        const Write& write) {
    const int shift = __ffs(Shape::kDim / 4 / blocks()) - 1;
    const int last_vector = (1 << shift) - 1;  // of a query, of those that a block has
    const auto sum = [&](int from, int row, int vector) -> float4& {
      return received_.sum[((from * Shape::kRows + row) << shift) + vector];
    };
    wait_for_cluster();  // all have used up what they received before
    merge_warps<Shape>(shares, queries, [&](int row, int d, const Merged& all) {
      const int to = d / 4 >> shift;
      const int vector = d / 4 & last_vector;
      const uint32_t theirs = address_in(to, barrier());
      send(address_in(to, shared_address(&sum(block(), row, vector))), all.sum, theirs);
      if (vector == 0) {
        send(address_in(to, shared_address(&received_.softmax[block()][row])),
             float2{all.softmax.largest, all.softmax.total}, theirs);
      }
    });
    wait_for_phase_of_cluster(barrier(), round_++);
    for (int v = threadIdx.x; v < queries << shift; v += Shape::kThreads) {
      const int row = v >> shift;
      const int vector = v & last_vector;
      Merged all;
      all.add(
          blocks(), [&](int from) { return received_.softmax[from][row]; },
          [&](int from) { return sum(from, row, vector); });
      write(row, ((block() << shift) + vector) * 4, all);
    }
  }

 private:
  [[nodiscard]] __device__ uint32_t barrier() const { return shared_address(&received_.barrier); }

  Received& received_;
  int round_ = 0;
};

template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocksPerMultiprocessor)
    decode_in_clusters(const __grid_constant__ AttentionTask task,
                       const __grid_constant__ Cut cut) {
  decode_pieces<Shape, ClusterTeam<Shape>>(task, cut);
}

template <int kDim>
void decode_with(const Stream& on, const AttentionTask& task, int64_t blocks) {
  using Shape = DecodeShape<kDim, 8>;
  launch_decode<Shape, ClusterTeam<Shape>>(on, decode_in_clusters<Shape>, task, 1, blocks);
}

}  // namespace

bool attention_clusters(const Stream& on, const AttentionTask& task) {
  const int64_t items = int64_t{task.rows} * task.kv_heads;
  if (items > on.multiprocessors) return false;
  // A block for every multiprocessor; beyond that, pairs alone fit wherever there is room.
  int64_t blocks = kMostBlocks;
  while (blocks > 2 && blocks * items > on.multiprocessors) blocks /= 2;
  if (task.head_dim == 64) {
    decode_with<64>(on, task, blocks);
  } else {
    CHECK(task.head_dim == 128);
    decode_with<128>(on, task, blocks);
  }
  return true;
}

}  // namespace switchyard::cuda
