// The Prometheus view of Metrics and of the engine's load: names, labels, types.
// Collecting reads atomics and the engine's published load; it holds up nobody. Counts nothing.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "node/metrics.h"

namespace switchyard {

// What stays the same once the model is loaded.
struct ServedFacts {
  std::string architecture;
  std::string backend;
  int kv_block_tokens = 0;
  int max_context_tokens = 0;
  int64_t kv_blocks = 0;
  int64_t weight_bytes = 0;
  std::string kv_type;
};

// What of it has files that are read again.
struct CredentialsInUse {
  bool certificate = false;
  bool tokens = false;
};

class MetricsPage final : public prometheus::Collectable {
 public:
  struct Sources {
    std::string model_name;
    bool vllm_names = true;
    CredentialsInUse credentials;
    std::function<NodeState()> state;
    std::function<int()> in_flight;  // at admission
    // Nothing while the node starts.
    std::function<std::optional<EngineLoad>()> load;
    std::function<std::optional<ServedFacts>()> facts;
  };
  // `metrics` and what `sources` refers to must outlive it.
  MetricsPage(const Metrics& metrics, Sources sources);

  // Any thread.
  [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Metrics& metrics_;
  const Sources sources_;
};

}  // namespace switchyard
