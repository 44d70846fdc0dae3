#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "engine/in_flight.h"
#include "engine/memory/cache_layout.h"
#include "engine/model/model.h"
#include "engine/run/model_runner.h"
#include "engine/step_loop.h"
#include "engine/weights/weight_store.h"

namespace switchyard {
namespace {

constexpr int64_t kDefaultKvBytes = int64_t{1} << 30;   // in memory shared with everything else
constexpr int64_t kDeviceReserve = int64_t{512} << 20;  // left free of a device's own memory
constexpr auto kRetrySoon = std::chrono::milliseconds(500);

// A device is busy with more at once than a CPU, and done with it sooner.
EngineOptions with_batch_limits(EngineOptions options, const Backend& backend) {
  const bool computes_on_host = backend.reads_host_memory();
  if (options.max_batch_rows == 0) options.max_batch_rows = computes_on_host ? 64 : 256;
  if (options.max_batch_tokens == 0) {
    options.max_batch_tokens = std::max(computes_on_host ? 512 : 8192, options.max_batch_rows);
  }
  return options;
}

Status check(const EngineOptions& options) {
  const auto at_least = [](std::string_view name, int64_t value, int64_t least) {
    return value >= least ? Status() : Status::invalid(name, "is ", value, ", at least ", least);
  };
  for (const Status& status :
       {at_least("max_batch_rows", options.max_batch_rows, 1),
        at_least("max_batch_tokens", options.max_batch_tokens, options.max_batch_rows),
        at_least("max_queue", options.max_queue, 1),
        at_least("max_context_tokens", options.max_context_tokens, 0),
        at_least("kv_memory_bytes", options.kv_memory_bytes, 0),
        at_least("kv_block_tokens", options.kv_block_tokens, 1)}) {
    if (!status.ok()) return status;
  }
  for (const int rows : options.graph_rows) {
    if (rows < 1 || rows > options.max_batch_rows) {
      return Status::invalid("graph_rows", rows, " is not in [1, ", options.max_batch_rows, "]");
    }
  }
  return {};
}

// Few enough to capture, close enough that padding to the next costs little: 1 2 4 8 16 24 32 48 64
// 96 128 and so on.
std::vector<int> usual_graph_rows(int max_rows) {
  std::vector<int> buckets;
  const auto after = [](int rows) {
    if (rows < 8) return 2 * rows;
    return rows + (rows < 32 ? 8 : rows < 64 ? 16 : 32);
  };
  for (int rows = 1; rows < max_rows; rows = after(rows)) buckets.push_back(rows);
  buckets.push_back(max_rows);
  return buckets;
}

// The most that the KV cache takes unasked: of a device's own memory, what the weights and a step
// leave.
int64_t usual_kv_bytes(const EngineOptions& options, const Model& model, const Backend& backend) {
  if (backend.reads_host_memory()) return kDefaultKvBytes;
  const int64_t logits = int64_t{options.max_batch_rows} * model.config().vocab_size * 4;
  const int64_t step =
      logits + model.scratch_bytes(options.max_batch_tokens, options.max_batch_rows);
  return std::max<int64_t>(backend.free_bytes() - step - kDeviceReserve, 0);
}

// Fills in what was left to the engine.
EngineOptions resolve(EngineOptions options,
                      const Model& model,
                      const CacheLayout& layout,
                      const Backend& backend) {
  const ModelConfig& config = model.config();
  const bool computes_when_called = backend.reads_host_memory();
  if (!options.overlap) options.overlap = !computes_when_called;
  if (options.graph_rows.empty() && !computes_when_called) {
    options.graph_rows = usual_graph_rows(options.max_batch_rows);
  }
  if (options.max_context_tokens == 0 || options.max_context_tokens > config.context_tokens) {
    options.max_context_tokens = config.context_tokens;
  }
  if (options.kv_memory_bytes == 0) {
    const int64_t per_row =
        layout.blocks_for(options.max_context_tokens) * layout.kv.bytes_per_block();
    options.kv_memory_bytes =
        std::min(usual_kv_bytes(options, model, backend),
                 per_row * options.max_batch_rows + layout.kv.bytes_per_block());
  }
  return options;
}

Result<WeightStore> open_weights(const ModelSource& source, Backend& backend) {
  if (Status status = check(source.plan, backend); !status.ok()) return status;
  switch (source.weights) {
    case WeightOrigin::kCheckpoint:
      return WeightStore::open(source.folder, backend, source.plan);
    case WeightOrigin::kRandom:
      return WeightStore(random_weights(source.seed), backend, source.plan);
    case WeightOrigin::kShapesOnly:
      return WeightStore(shapes_only(), backend, source.plan);
  }
  CHECK(false);
}

Result<std::optional<Tokenizer>> load_tokenizer(const std::filesystem::path& folder) {
  std::error_code none;
  const std::filesystem::path file = folder / "tokenizer.json";
  if (!std::filesystem::exists(file, none)) return std::optional<Tokenizer>();
  Result<Tokenizer> tokenizer = Tokenizer::load(file);
  if (!tokenizer) return tokenizer.status();
  return std::optional<Tokenizer>(std::move(tokenizer).value());
}

}  // namespace

// Everything an engine is made of, in the order of who borrows from whom.
struct Engine::Parts {
  struct Loaded {
    EngineOptions options;
    std::optional<Tokenizer> tokenizer;
    std::unique_ptr<const Model> model;
    std::unique_ptr<ModelRunner> runner;
    WeightLoad weight_load;
    Duration warm_up{};
    int blocks = 0;  // the sink included
  };

  Parts(Loaded loaded_parts, const Clock& the_clock, EngineObserver observer)
      : loaded(std::move(loaded_parts)),
        clock(the_clock),
        limits{.vocab_size = loaded.model->config().vocab_size,
               .context_tokens = loaded.options.max_context_tokens,
               .kv_tokens = int64_t{loaded.blocks - 1} * loaded.options.kv_block_tokens,
               .eos_tokens = loaded.model->config().eos_tokens},
        board(static_cast<size_t>(loaded.options.max_queue), clock),
        memory({.blocks = loaded.blocks,
                .block_tokens = loaded.options.kv_block_tokens,
                .state_slots = loaded.options.max_batch_rows + 1}),
        scheduler({.max_batch_tokens = loaded.options.max_batch_tokens,
                   .max_batch_rows = loaded.options.max_batch_rows,
                   .max_step_edits = most_step_edits(loaded.options.max_batch_rows,
                                                     loaded.model->config().vocab_size)},
                  admit_with_room_to_grow,
                  memory,
                  clock),
        commands(command_capacity(loaded.options)),
        loop({.runner = *loaded.runner,
              .memory = memory,
              .scheduler = scheduler,
              .board = board,
              .commands = commands,
              .tokenizer = loaded.tokenizer ? &*loaded.tokenizer : nullptr,
              .clock = clock,
              .observer = std::move(observer),
              .overlap = loaded.options.overlap.value()}) {}

  // Between two looks of the step thread there are at most one submit and one cancel of everything
  // on the board, and one cancel of everything that left it: a push never fails.
  static size_t command_capacity(const EngineOptions& options) {
    return 3 *
           (static_cast<size_t>(options.max_queue) + static_cast<size_t>(options.max_batch_rows));
  }

  Loaded loaded;
  const Clock& clock;
  RequestLimits limits;
  InFlightBoard board;
  SequenceMemory memory;
  Scheduler scheduler;
  Queue<EngineCommand> commands;
  std::atomic<uint64_t> last_id = 0;
  std::atomic<bool> draining = false;
  StepLoop loop;  // last: its thread uses the rest
};

Result<std::unique_ptr<Engine>> Engine::create(const ModelSource& source,
                                               const EngineOptions& asked,
                                               Backend& backend,
                                               const Clock& clock,
                                               EngineObserver observer) {
  const EngineOptions wanted = with_batch_limits(asked, backend);
  if (Status status = check(wanted); !status.ok()) return status;
  Result<ModelConfig> config = load_model_config(source.folder);
  if (!config) return config.status();
  Result<std::optional<Tokenizer>> tokenizer = load_tokenizer(source.folder);
  if (!tokenizer) return tokenizer.status();
  if (tokenizer->has_value() && (*tokenizer)->vocab_size() > config->vocab_size) {
    return Status(Code::kInvalidArgument, (source.folder / "tokenizer.json").string(),
                  ": has ids up to ", (*tokenizer)->vocab_size() - 1,
                  ", config.json's vocab_size is ", config->vocab_size);
  }

  const TimePoint began = clock.now();
  Result<WeightStore> weights = open_weights(source, backend);
  if (!weights) return weights.status();
  Result<std::unique_ptr<const Model>> model =
      Model::load(std::move(config).value(), std::move(weights).value());
  if (!model) return model.status();
  const WeightLoad weight_load{.read_bytes = (*model)->read_bytes(), .took = clock.now() - began};

  const CacheLayout layout = (*model)->cache_layout(wanted.kv_block_tokens, wanted.kv_type);
  const EngineOptions options = resolve(wanted, **model, layout, backend);
  const int blocks =
      std::min(layout.blocks_in(options.kv_memory_bytes),
               options.max_batch_rows * layout.blocks_for(options.max_context_tokens) + 1);
  if (blocks < 2) {
    return Status::invalid("kv_memory_bytes", options.kv_memory_bytes, " holds no block of ",
                           layout.kv.bytes_per_block(), " bytes beside the sink");
  }
  Result<std::unique_ptr<ModelRunner>> runner = ModelRunner::create(
      **model, backend,
      {.batch = {.max_tokens = options.max_batch_tokens,
                 .max_rows = options.max_batch_rows,
                 .max_blocks_per_row = layout.blocks_for(options.max_context_tokens),
                 .block_tokens = options.kv_block_tokens,
                 .max_edits =
                     most_step_edits(options.max_batch_rows, (*model)->config().vocab_size)},
       .blocks = blocks,
       .state_slots = options.max_batch_rows + 1,
       .kv_type = options.kv_type,
       .graph_rows = options.graph_rows});
  if (!runner) return runner.status();
  const TimePoint loaded = clock.now();
  (*runner)->warm_up();

  return std::unique_ptr<Engine>(
      new Engine(std::make_unique<Parts>(Parts::Loaded{.options = options,
                                                       .tokenizer = std::move(tokenizer).value(),
                                                       .model = std::move(model).value(),
                                                       .runner = std::move(runner).value(),
                                                       .weight_load = weight_load,
                                                       .warm_up = clock.now() - loaded,
                                                       .blocks = blocks},
                                         clock, std::move(observer))));
}

Engine::Engine(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Engine::~Engine() = default;

Status Engine::submit(Request request) {
  if (parts_->draining) {
    return Status::busy(Code::kUnavailable, "DRAINING", kRetrySoon, "the node is draining");
  }
  if (!parts_->board.add(request)) {
    return Status::busy(Code::kResourceExhausted, "QUEUE_FULL", kRetrySoon, "the queue holds ",
                        parts_->loaded.options.max_queue, " requests, which is its limit");
  }
  const bool pushed = parts_->commands.push(SubmitCommand{std::move(request)});
  CHECK(pushed);
  return {};
}

void Engine::cancel(RequestId id, Status why) {
  CHECK(!why.ok());
  if (!parts_->board.mark_cancelled(id)) return;
  const bool pushed = parts_->commands.push(
      CancelCommand{.id = id, .why = std::move(why), .asked_at = parts_->clock.now()});
  CHECK(pushed);
}

void Engine::drain() { parts_->draining = true; }

RequestId Engine::next_id() { return RequestId{++parts_->last_id}; }

EngineLoad Engine::load() const {
  EngineLoad load = parts_->loop.load();
  const InFlightBoard::Counts counts = parts_->board.counts();
  load.running = counts.running;
  load.waiting = counts.waiting;
  load.waiting_by_class = counts.waiting_by_class;
  load.oldest_wait = counts.oldest_wait;
  load.draining = parts_->draining;
  return load;
}

std::vector<InFlight> Engine::in_flight() const { return parts_->board.list(); }

const ModelConfig& Engine::model_config() const { return parts_->loaded.model->config(); }

bool Engine::has_tokenizer() const { return parts_->loaded.tokenizer.has_value(); }

const Tokenizer& Engine::tokenizer() const {
  CHECK(has_tokenizer());
  return *parts_->loaded.tokenizer;
}

const RequestLimits& Engine::request_limits() const { return parts_->limits; }

const EngineOptions& Engine::options() const { return parts_->loaded.options; }

int64_t Engine::weight_bytes() const { return parts_->loaded.model->weight_bytes(); }
WeightLoad Engine::weight_load() const { return parts_->loaded.weight_load; }
Duration Engine::warm_up_took() const { return parts_->loaded.warm_up; }

PriorityClass priority_class(int priority) {
  if (priority == 0) return PriorityClass::kNormal;
  return priority < 0 ? PriorityClass::kLow : PriorityClass::kHigh;
}

}  // namespace switchyard
