// GraphCache: which steps replay a captured graph, and the graphs. A graph freezes the counts of a
// batch and the addresses of its arrays; a step that fits a bucket is padded up to it.
// Steps that are not one token per row, or larger than every bucket, run eagerly.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "engine/batch/batch_builder.h"
#include "kernels/backend.h"

namespace switchyard {

// Step thread only.
class GraphCache {
 public:
  // `buckets`: row counts, in any order; none: every step is eager.
  explicit GraphCache(std::vector<int> buckets);

  [[nodiscard]] const std::vector<int>& buckets() const { return buckets_; }  // rising

  // The counts that a step is padded to; nothing: it runs as it is.
  [[nodiscard]] std::optional<PaddedCounts> bucket_for(const PaddedCounts& exact) const;

  // Replays the bucket's graph; the first time, captures what `ops` enqueues.
  void run(Backend& backend, const PaddedCounts& bucket, const std::function<void()>& ops);

  [[nodiscard]] size_t captured() const { return graphs_.size(); }

 private:
  std::vector<int> buckets_;                      // rising
  std::map<int, std::unique_ptr<Graph>> graphs_;  // by rows
};

}  // namespace switchyard
