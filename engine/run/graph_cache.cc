#include "engine/run/graph_cache.h"

#include <algorithm>
#include <utility>

namespace switchyard {

GraphCache::GraphCache(std::vector<int> buckets) : buckets_(std::move(buckets)) {
  std::sort(buckets_.begin(), buckets_.end());
}

std::optional<PaddedCounts> GraphCache::bucket_for(const PaddedCounts& exact) const {
  if (exact.tokens != exact.rows || exact.logits != exact.rows) return std::nullopt;
  const auto bucket = std::lower_bound(buckets_.begin(), buckets_.end(), exact.rows);
  if (bucket == buckets_.end()) return std::nullopt;
  return PaddedCounts{.tokens = *bucket, .rows = *bucket, .logits = *bucket};
}

void GraphCache::run(Backend& backend,
                     const PaddedCounts& bucket,
                     const std::function<void()>& ops) {
  std::unique_ptr<Graph>& graph = graphs_[bucket.rows];
  if (graph == nullptr) {
    backend.begin_capture();
    ops();
    graph = backend.end_capture();
  }
  graph->replay();
}

}  // namespace switchyard
