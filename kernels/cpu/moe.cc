// The chosen experts' matrices. Work is split into (expert, range of outputs); an expert's rows are
// gathered by pointer and meet its weights together, so a weight is read once per block of rows.
#include "kernels/cpu/moe.h"

#include <algorithm>
#include <array>

#include "kernels/cpu/linear.h"

namespace switchyard::cpu {
namespace {

constexpr int64_t kRangesPerExpert = 8;

// Up to kTileRows of one expert's entries, and outputs [begin, begin + outputs) of its matrix.
struct ExpertTile {
  int64_t expert = 0;
  const int32_t* entry = nullptr;  // [rows]
  int rows = 0;
  int64_t begin = 0;
  int outputs = 0;
};

// The expert whose rows are number `group`, or -1. With fewer entries than experts a group is a
// place in `order` and counts where an expert's rows begin, so that threads share few experts
// evenly; otherwise a group is an expert.
int64_t expert_of_group(const Routing& routing, int64_t group) {
  const int64_t experts = routing.expert_start.dim(0) - 1;
  if (routing.order.dim(0) >= experts) return group;
  if (group >= routing.expert_start.i32()[experts]) return -1;  // padding's
  const int32_t expert = routing.expert.i32()[routing.order.i32()[group]];
  return routing.expert_start.i32()[expert] == group ? expert : -1;
}

template <typename Body>
void for_each_expert_tile(ThreadPool& pool,
                          const Routing& routing,
                          int64_t outputs,
                          const Body& body) {
  const int64_t groups = std::min(routing.order.dim(0), routing.expert_start.dim(0) - 1);
  const int64_t tiles = (outputs + kTileOutputs - 1) / kTileOutputs;
  const int64_t range = (tiles + kRangesPerExpert - 1) / kRangesPerExpert * kTileOutputs;
  const auto run_range = [&](int64_t expert, int64_t begin) {
    const int32_t last = routing.expert_start.i32()[expert + 1];
    const int64_t end = std::min(outputs, begin + range);
    for (int32_t first = routing.expert_start.i32()[expert]; first < last; first += kTileRows) {
      for (int64_t n = begin; n < end; n += kTileOutputs) {
        body(ExpertTile{.expert = expert,
                        .entry = routing.order.i32() + first,
                        .rows = std::min(kTileRows, last - first),
                        .begin = n,
                        .outputs = static_cast<int>(std::min<int64_t>(kTileOutputs, end - n))});
      }
    }
  };
  pool.parallel_for(groups * kRangesPerExpert, 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t expert = expert_of_group(routing, i / kRangesPerExpert);
      if (expert >= 0) run_range(expert, i % kRangesPerExpert * range);
    }
  });
}

}  // namespace

void expert_up(ThreadPool& pool, const ExpertUpArgs& args) {
  const int64_t top_k = args.routing.expert.dim(1);
  const int64_t width = args.x.dim(1);
  const int64_t features = args.gate.rows;
  for_each_expert_tile(pool, args.routing, features, [&](const ExpertTile& tile) {
    std::array<const float*, kTileRows> x{};
    std::array<float*, kTileRows> out{};
    for (int i = 0; i < tile.rows; ++i) {
      x[i] = args.x.f32() + tile.entry[i] / top_k * width;
      out[i] = args.out.f32() + tile.entry[i] * features;
    }
    gated_tile({.x = x.data(),
                .out = out.data(),
                .rows = tile.rows,
                .gate = matrix_of(args.gate, tile.expert),
                .up = matrix_of(args.up, tile.expert),
                .begin = tile.begin,
                .outputs = tile.outputs});
  });
}

void expert_down(ThreadPool& pool, const ExpertDownArgs& args) {
  const int64_t top_k = args.routing.expert.dim(1);
  const int64_t features = args.down.cols;
  const int64_t width = args.down.rows;
  for_each_expert_tile(pool, args.routing, width, [&](const ExpertTile& tile) {
    std::array<float, kTileRows * kTileOutputs> product;
    std::array<const float*, kTileRows> x{};
    for (int i = 0; i < tile.rows; ++i) x[i] = args.hidden.f32() + tile.entry[i] * features;
    DotTile dot{.x = x.data(),
                .rows = tile.rows,
                .outputs = tile.outputs,
                .out = product.data(),
                .out_stride = tile.outputs};
    set_weight(dot, matrix_of(args.down, tile.expert), tile.begin);
    dot_tile(dot);
    for (int i = 0; i < tile.rows; ++i) {
      std::copy_n(product.data() + i * tile.outputs, tile.outputs,
                  args.expert_work.f32() + tile.entry[i] * width + tile.begin);
    }
  });

  pool.parallel_for(args.out.dim(0), 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      if (args.routing.expert.i32()[t * top_k] < 0) continue;  // padding
      const float* weight = args.routing.weight.f32() + t * top_k;
      const float* expert_out = args.expert_work.f32() + t * top_k * width;
      const float* residual = args.residual.f32() + t * width;
      float* out = args.out.f32() + t * width;
      for (int64_t i = 0; i < width; ++i) {
        float sum = 0;
        for (int64_t k = 0; k < top_k; ++k) sum += weight[k] * expert_out[k * width + i];
        out[i] = residual[i] + sum;
      }
    }
  });
}

}  // namespace switchyard::cpu
