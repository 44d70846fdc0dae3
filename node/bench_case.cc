#include "node/bench_case.h"

#include <condition_variable>
#include <random>
#include <utility>

namespace switchyard {
namespace {

// The first decode steps still warm caches and page in what the prompt did not touch.
constexpr int kWarmUpSteps = 8;
// Steps in which all rows still decode after the last that is kept: one is in flight then.
constexpr int kSpareSteps = 4;

// Counts ends; remembers the first failure.
class Finish final : public TokenSink {
 public:
  explicit Finish(int rows) : left_(rows) {}
  void on_delta(AnswerDelta) override {}
  void on_end(EndOfAnswer end) override {
    std::lock_guard lock(mutex_);
    if (!end.status.ok() && failure_.ok()) failure_ = end.status;
    --left_;
    changed_.notify_one();
  }
  Status wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return left_ == 0; });
    return failure_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int left_;        // guarded by mutex_
  Status failure_;  // guarded by mutex_
};

}  // namespace

Result<std::unique_ptr<BenchEngine>> BenchEngine::create(const ModelSource& source,
                                                         const EngineOptions& options,
                                                         Backend& backend,
                                                         NullBackend* null,
                                                         OpRecorder* recorder) {
  auto bench = std::unique_ptr<BenchEngine>(new BenchEngine(null, recorder));
  Result<std::unique_ptr<Engine>> engine = Engine::create(
      source, options, backend, bench->clock_,
      {.on_step = [bench = bench.get()](const StepReport& report) { bench->on_step(report); },
       .on_end = nullptr});
  if (!engine) return engine.status();
  bench->engine_ = std::move(engine).value();
  return bench;
}

// Rows whose prompts are done decode while the last prompts are computed: those steps are not
// kept, so there must be enough left when all rows decode.
int BenchEngine::new_tokens(const BenchCase& bench_case) const {
  if (bench_case.decode_steps == 0) return 1;
  const int64_t prompt_steps =
      int64_t{bench_case.rows} * bench_case.context / engine_->options().max_batch_tokens + 2;
  return bench_case.decode_steps + kWarmUpSteps + kSpareSteps + static_cast<int>(prompt_steps);
}

Status BenchEngine::fits(const BenchCase& bench_case) const {
  const RequestLimits& limits = engine_->request_limits();
  const int tokens = bench_case.context + new_tokens(bench_case);
  if (tokens > limits.context_tokens) {
    return Status::invalid("context", tokens, " tokens a row are more than the limit of ",
                           limits.context_tokens);
  }
  const int64_t wanted = cache_tokens(bench_case);
  if (wanted > limits.kv_tokens) {
    return Status::invalid("batch", wanted, " tokens of cache are more than the ", limits.kv_tokens,
                           " that there is memory for");
  }
  return {};
}

int64_t BenchEngine::cache_tokens(const BenchCase& bench_case) const {
  const int64_t block = engine_->options().kv_block_tokens;
  const int64_t tokens = bench_case.context + new_tokens(bench_case);
  // One more block, which an admission leaves for each running row to grow into.
  return bench_case.rows * ((tokens + block - 1) / block + 1) * block;
}

int64_t BenchEngine::cache_bytes(int64_t tokens) const {
  // The sink beside them, and a block to spare.
  const EngineOptions& options = engine_->options();
  return (tokens + 2 * options.kv_block_tokens) *
         kv_bytes_per_token(engine_->model_config(), options.kv_type);
}

// Whether the step is one to keep.
bool BenchEngine::is_wanted(Running& running, const StepReport& report) {
  const BenchCase& bench_case = running.bench_case;
  if (bench_case.decode_steps == 0) {
    running.prefilled += report.prefill_tokens;
    return report.prefill_tokens > 0;
  }
  if (report.prefill_tokens > 0 || report.decode_tokens != bench_case.rows) return false;
  ++running.decoded;
  return running.decoded > kWarmUpSteps &&
         running.decoded <= kWarmUpSteps + bench_case.decode_steps;
}

// Whether the step that was kept last is the last to keep.
bool BenchEngine::is_last(const Running& running) {
  const BenchCase& bench_case = running.bench_case;
  if (bench_case.decode_steps == 0) {
    return running.prefilled == bench_case.rows * bench_case.context;
  }
  return running.decoded == kWarmUpSteps + bench_case.decode_steps;
}

// Of a step that was kept last, the next may be in flight: that is the one that is replayed then.
void BenchEngine::on_step(const StepReport& report) {
  std::lock_guard lock(mutex_);
  StepSample sample = {.seconds = seconds(report.duration),
                       .tokens = report.prefill_tokens + report.decode_tokens,
                       .cost = {}};
  BenchRun& run = running_.run;
  const bool wanted = is_wanted(running_, report);
  if (null_ != nullptr) {
    sample.cost = null_->cost();
    if (wanted) run.last_ops = null_->by_op();
    null_->reset();
  }
  if (!wanted) return;
  run.steps.push_back(sample);
  if (running_.replay != Replay::kNo && is_last(running_)) {
    run.replayed = recorder_->replay(running_.replay == Replay::kByOp);
  }
}

Result<BenchRun> BenchEngine::run(const BenchCase& bench_case, Replay replay) {
  CHECK(replay == Replay::kNo || recorder_ != nullptr);
  const RequestLimits& limits = engine_->request_limits();
  std::mt19937_64 random(static_cast<uint64_t>(bench_case.rows) * 1000003 +
                         static_cast<uint64_t>(bench_case.context));
  auto finish = std::make_shared<Finish>(bench_case.rows);
  std::vector<Request> requests;
  for (int row = 0; row < bench_case.rows; ++row) {
    RequestFields fields;
    fields.id = engine_->next_id();
    for (int i = 0; i < bench_case.context; ++i) {
      fields.prompt.push_back(
          static_cast<int32_t>(random() % static_cast<uint64_t>(limits.vocab_size)));
    }
    fields.sampling.temperature = 0;
    fields.stop.max_new_tokens = new_tokens(bench_case);
    fields.stop.ignore_eos = true;
    fields.arrival = clock_.now();
    fields.sink = finish;
    Result<Request> request = Request::make(std::move(fields), limits);
    if (!request) return request.status();
    requests.push_back(std::move(request).value());
  }
  {
    // The step thread waits at the end of its step until every row is there: small models would
    // have answered the first before the last is asked.
    std::lock_guard lock(mutex_);
    running_ = {.bench_case = bench_case, .replay = replay, .run = {}};
    for (Request& request : requests) {
      if (Status status = engine_->submit(std::move(request)); !status.ok()) return status;
    }
  }
  if (Status status = finish->wait(); !status.ok()) return status;

  std::lock_guard lock(mutex_);
  running_.replay = Replay::kNo;
  if (running_.run.steps.empty()) return Status::internal("no step of the wanted shape was seen");
  return std::move(running_.run);
}

}  // namespace switchyard
