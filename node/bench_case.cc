#include "node/bench_case.h"

#include <condition_variable>
#include <random>
#include <utility>

namespace switchyard {
namespace {

// The first decode steps still warm caches and page in what the prompt did not touch.
constexpr int kWarmUpSteps = 4;

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
                                                         NullBackend* null) {
  auto bench = std::unique_ptr<BenchEngine>(new BenchEngine(null));
  Result<std::unique_ptr<Engine>> engine = Engine::create(
      source, options, backend, bench->clock_,
      {.on_step = [bench = bench.get()](const StepReport& report) { bench->on_step(report); },
       .on_end = nullptr});
  if (!engine) return engine.status();
  bench->engine_ = std::move(engine).value();
  return bench;
}

void BenchEngine::on_step(const StepReport& report) {
  std::lock_guard lock(mutex_);
  steps_.push_back({.report = report, .cost = {}});
  if (null_ != nullptr) {
    steps_.back().cost = null_->cost();
    null_->reset();
  }
}

Result<std::vector<StepSample>> BenchEngine::run(const BenchCase& bench_case) {
  const RequestLimits& limits = engine_->request_limits();
  std::mt19937_64 random(bench_case.rows * 1000003 + bench_case.context);
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
    // Rows whose prompts are done decode while the last prompts are computed: those steps are not
    // counted, so there must be enough left when all rows decode.
    const int prompt_steps =
        bench_case.rows * bench_case.context / engine_->options().max_batch_tokens + 2;
    fields.stop.max_new_tokens =
        bench_case.decode_steps > 0 ? bench_case.decode_steps + kWarmUpSteps + prompt_steps : 1;
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
    steps_.clear();
    for (Request& request : requests) {
      if (Status status = engine_->submit(std::move(request)); !status.ok()) return status;
    }
  }
  if (Status status = finish->wait(); !status.ok()) return status;

  std::lock_guard lock(mutex_);
  std::vector<StepSample> samples;
  int all_decode = 0;
  for (const Step& step : steps_) {
    const StepReport& report = step.report;
    const StepSample sample = {.seconds = seconds(report.duration),
                               .tokens = report.prefill_tokens + report.decode_tokens,
                               .cost = step.cost};
    if (bench_case.decode_steps == 0) {
      if (report.prefill_tokens > 0) samples.push_back(sample);
    } else if (report.prefill_tokens == 0 && report.decode_tokens == bench_case.rows) {
      if (++all_decode > kWarmUpSteps &&
          static_cast<int>(samples.size()) < bench_case.decode_steps) {
        samples.push_back(sample);
      }
    }
  }
  if (samples.empty()) return Status::internal("no step of the wanted shape was seen");
  return samples;
}

}  // namespace switchyard
