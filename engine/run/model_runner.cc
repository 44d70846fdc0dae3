#include "engine/run/model_runner.h"

#include <array>
#include <string_view>
#include <tuple>
#include <utility>

namespace switchyard {

Result<std::unique_ptr<ModelRunner>> ModelRunner::create(const Model& model,
                                                         Backend& backend,
                                                         const RunnerLimits& limits) {
  const CacheLayout layout = model.cache_layout(limits.batch.block_tokens, limits.kv_type);
  const ModelConfig& config = model.config();
  const int64_t rows = limits.batch.max_rows;
  Memory memory;
  const std::array<std::tuple<std::string_view, Buffer*, int64_t>, 5> wanted = {{
      {"the batch", &memory.batch, BatchBuilder(limits.batch).block_bytes()},
      {"the KV cache", &memory.kv, limits.blocks * layout.kv.bytes_per_block()},
      {"the recurrent state", &memory.state, limits.state_slots * layout.bytes_per_slot()},
      {"scratch", &memory.scratch,
       model.scratch_bytes(limits.batch.max_tokens, limits.batch.max_rows)},
      {"the logits", &memory.logits, rows * config.vocab_size * 4},
  }};
  for (const auto& [what, buffer, bytes] : wanted) {
    if (bytes == 0) continue;
    *buffer = backend.allocate(bytes);
    if (buffer->empty()) {
      return Status(Code::kResourceExhausted, "no memory for ", what, ": ", bytes, " bytes");
    }
  }
  Result<Sampler> sampler = Sampler::create(backend, limits.batch.max_rows);
  if (!sampler) return sampler.status();
  return std::unique_ptr<ModelRunner>(
      new ModelRunner(model, backend, limits, std::move(memory), std::move(sampler).value()));
}

ModelRunner::ModelRunner(const Model& model,
                         Backend& backend,
                         const RunnerLimits& limits,
                         Memory memory,
                         Sampler sampler)
    : model_(model),
      backend_(backend),
      memory_(std::move(memory)),
      caches_(model.cache_layout(limits.batch.block_tokens, limits.kv_type),
              {.kv = memory_.kv.data(),
               .blocks = limits.blocks,
               .state = memory_.state.data(),
               .state_slots = limits.state_slots}),
      scratch_(memory_.scratch.data(), memory_.scratch.bytes()),
      sampler_(std::move(sampler)),
      builder_(limits.batch),
      graphs_(limits.graph_rows) {}

void ModelRunner::warm_up() {
  for (const int rows : graphs_.buckets()) {
    const HostBatch host = builder_.build({}, {.tokens = rows, .rows = rows, .logits = rows});
    upload(host);
    graphs_.run(backend_, host.counts, [&] { compute(host, {}); });
  }
  backend_.synchronize();
}

void ModelRunner::launch(const StepPlan& plan, const std::function<void()>& on_layer) {
  const PaddedCounts exact = exact_counts(plan);
  CHECK(exact.tokens > 0);
  const std::optional<PaddedCounts> bucket = graphs_.bucket_for(exact);
  const HostBatch host = builder_.build(plan, bucket.value_or(exact));
  upload(host);
  if (bucket) {
    graphs_.run(backend_, *bucket, [&] { compute(host, {}); });
  } else {
    compute(host, on_layer);
  }
  sampler_.bring(exact.logits, host.wanted);
}

StepTokens ModelRunner::collect() { return sampler_.collect(); }

void ModelRunner::upload(const HostBatch& host) {
  backend_.upload(memory_.batch.data(), host.block.data(), static_cast<int64_t>(host.block.size()));
}

// Enqueues ops alone, and from the batch's counts and fixed addresses alone: a graph may keep them.
void ModelRunner::compute(const HostBatch& host, const std::function<void()>& on_layer) {
  const RaggedBatch batch = host.on(memory_.batch.data());
  const Tensor logits(memory_.logits.data(), DType::kF32,
                      {host.counts.logits, model_.config().vocab_size});
  model_.forward({.backend = backend_,
                  .batch = batch,
                  .caches = caches_,
                  .scratch = scratch_,
                  .previous_tokens = sampler_.tokens(),
                  .logits = logits,
                  .on_routing = nullptr,
                  .on_layer = on_layer});
  sampler_.draw(logits, host.sampling_on(memory_.batch.data()));
}

}  // namespace switchyard
