#include "node/serving.h"

#include <random>
#include <utility>

namespace switchyard {
namespace {

EngineOptions engine_options(const Config& config) {
  EngineOptions options;
  options.max_batch_tokens = config.max_batch_tokens;
  options.max_batch_rows = config.max_batch_rows;
  options.max_queue = config.max_queue;
  options.max_context_tokens = config.max_context_tokens;
  options.kv_memory_bytes = config.kv_memory_bytes;
  options.kv_block_tokens = config.kv_block_tokens;
  return options;
}

uint64_t draw_process_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace

Result<std::unique_ptr<Serving>> Serving::load(const Config& config,
                                               const Clock& clock,
                                               Metrics& metrics) {
  MadeBackend made = make_backend(config.backend, BackendOptions{.threads = config.threads});
  if (made.backend == nullptr) return Status::invalid("--backend", made.message);
  return load_on(std::move(made), config, clock, metrics);
}

Result<std::unique_ptr<Serving>> Serving::load_on(MadeBackend made,
                                                  const Config& config,
                                                  const Clock& clock,
                                                  Metrics& metrics) {
  const TimePoint began = clock.now();
  ModelSource source{.folder = config.model, .plan = config.weight_plan};
  if (config.random_weights_seed) {
    source.weights = WeightOrigin::kRandom;
    source.seed = *config.random_weights_seed;
  }
  EngineObserver observer{
      .on_step = [&metrics](const StepReport& report) { metrics.on_step(report); },
      .on_end = [&metrics](const EndReport& report) { metrics.on_end(report); },
      .on_freed = [&metrics](Duration after_cancel) { metrics.on_freed(after_cancel); }};
  Result<std::unique_ptr<Engine>> engine =
      Engine::create(source, engine_options(config), *made.backend, clock, std::move(observer));
  if (!engine.ok()) return engine.status();

  Result<ServedModel> model =
      ServedModel::load(config.model_name, config.model, **engine, draw_process_seed());
  if (!model.ok()) return model.status();

  const AdmissionLimits limits{.queue = config.max_queue,
                               .queue_tokens = config.max_queue_tokens,
                               .queue_age = config.max_queue_age};
  const Engine* loaded = engine->get();
  const Duration warm_up = loaded->warm_up_took();
  metrics.load_seconds = seconds(clock.now() - began - warm_up);
  metrics.warm_up_seconds = seconds(warm_up);
  return std::unique_ptr<Serving>(new Serving{
      .backend_message = std::move(made.message),
      .backend = std::move(made.backend),
      .admission = {limits, clock, [loaded] { return loaded->load(); }},
      .engine = std::move(*engine),
      .model = std::move(*model),
  });
}

}  // namespace switchyard
