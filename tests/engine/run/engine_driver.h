// Drives a whole engine on a tiny checkpoint from a test: ask, wait, look.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <fstream>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "kernels/make_backend.h"
#include "tests/support/source_dir.h"

namespace switchyard {

// What one sink got. Any thread may wait for it.
class Answer final : public TokenSink {
 public:
  void on_delta(AnswerDelta delta) override {
    std::lock_guard lock(mutex_);
    EXPECT_EQ(ends_, 0) << "a delta after the end";
    tokens_.insert(tokens_.end(), delta.tokens.begin(), delta.tokens.end());
    text_ += delta.text;
    changed_.notify_all();
  }
  void on_end(EndOfAnswer end) override {
    std::lock_guard lock(mutex_);
    EXPECT_EQ(++ends_, 1) << "more than one end";
    end_ = std::move(end);
    changed_.notify_all();
  }

  EndOfAnswer wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ends_ > 0; });
    return end_;
  }
  void wait_for_tokens(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return tokens_.size() >= count || ends_ > 0; });
  }
  std::vector<int32_t> tokens() {
    std::lock_guard lock(mutex_);
    return tokens_;
  }
  std::string text() {
    std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int32_t> tokens_;  // guarded by mutex_
  std::string text_;             // guarded by mutex_
  EndOfAnswer end_;              // guarded by mutex_
  int ends_ = 0;                 // guarded by mutex_
};

inline std::filesystem::path fixture(const std::string& name) {
  return source_dir() / "tests/fixtures/models" / name;
}

inline nlohmann::json expected_of(const std::string& name) {
  std::ifstream file(fixture(name) / "expected.json");
  return nlohmann::json::parse(file);
}

inline EngineOptions overlapped(EngineOptions options) {
  options.overlap = true;
  return options;
}

inline EngineOptions exact_options() {
  EngineOptions options;
  options.kv_type = DType::kF32;
  options.max_context_tokens = 2048;
  return options;
}

// A running engine with its backend and clock.
struct RunningEngine {
  explicit RunningEngine(const EngineOptions& options,
                         const std::string& model = "lfm2_moe_odd",
                         EngineObserver observer = {})
      : RunningEngine({.folder = fixture(model)},
                      options,
                      make_backend("cpu", {.threads = 2}).backend,
                      std::move(observer)) {}
  RunningEngine(const ModelSource& source,
                const EngineOptions& options,
                std::unique_ptr<Backend> on,
                EngineObserver observer = {})
      : backend(std::move(on)) {
    Result<std::unique_ptr<Engine>> made =
        Engine::create(source, options, *backend, clock, std::move(observer));
    EXPECT_TRUE(made.ok()) << made.status().message();
    engine = std::move(made).value();
  }

  RequestFields fields(std::vector<int32_t> prompt, int new_tokens) {
    RequestFields request;
    request.id = engine->next_id();
    request.prompt = std::move(prompt);
    request.sampling.temperature = 0;
    request.stop.max_new_tokens = new_tokens;
    request.stop.ignore_eos = true;
    request.arrival = clock.now();
    return request;
  }

  // Submits; the answer is on its way.
  std::shared_ptr<Answer> ask(RequestFields request) {
    auto answer = std::make_shared<Answer>();
    request.sink = answer;
    Result<Request> made = Request::make(std::move(request), engine->request_limits());
    EXPECT_TRUE(made.ok()) << made.status().message();
    const Status submitted = engine->submit(std::move(made).value());
    EXPECT_TRUE(submitted.ok()) << submitted.message();
    return answer;
  }

  // An answer has ended before the step in flight with it is back: waits for that.
  void expect_nothing_held() const {
    const auto is_held = [](const EngineLoad& load) {
      return load.kv_blocks_free < load.kv_blocks_total ||
             load.state_slots_free < load.state_slots_total;
    };
    const bool overlaps = engine->options().overlap.value();
    const TimePoint deadline = clock.now() + std::chrono::seconds(30);
    while (overlaps && is_held(engine->load()) && clock.now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    const EngineLoad load = engine->load();
    EXPECT_EQ(load.running, 0);
    EXPECT_EQ(load.waiting, 0);
    EXPECT_EQ(load.kv_blocks_free, load.kv_blocks_total);
    EXPECT_EQ(load.state_slots_free, load.state_slots_total);
  }

  SteadyClock clock;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Engine> engine;
};

}  // namespace switchyard
