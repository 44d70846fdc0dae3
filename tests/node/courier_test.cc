// Outboxes, courier and admission with all of their threads and no network: producers, the courier,
// writers that finish its writes elsewhere, and readers that are abandoned half-way.
#include "node/courier.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "node/admission.h"
#include "node/outbox.h"

namespace switchyard {
namespace {

// A reader whose every write is finished by another thread, as gRPC does it.
class FakeCall final : public Courier::Call {
 public:
  struct World {
    const Clock& clock;
    Metrics& metrics;
    Courier& courier;
    Admission& admission;
    Queue<FakeCall*>& writes;
  };
  explicit FakeCall(World world) : world_(world) { world_.courier.add(*this); }
  ~FakeCall() override { world_.courier.remove(*this); }

  void advance() override {
    Outbox::Item item = outbox_->take();
    if (auto* delta = std::get_if<AnswerDelta>(&item)) {
      std::lock_guard lock(mutex_);
      tokens_ += delta->tokens.size();
      ASSERT_TRUE(world_.writes.push(this));
    } else if (const auto* end = std::get_if<EndOfAnswer>(&item)) {
      std::lock_guard lock(mutex_);
      code_ = end->status.code();
      ended_ = true;
    }
  }
  void check_reader(TimePoint /*now*/) override { ++checks_; }

  std::shared_ptr<Outbox> outbox() { return outbox_; }
  bool ended() {
    std::lock_guard lock(mutex_);
    return ended_;
  }
  size_t tokens() {
    std::lock_guard lock(mutex_);
    return tokens_;
  }
  Code code() {
    std::lock_guard lock(mutex_);
    return code_;
  }

 private:
  World world_;
  std::atomic<int> checks_{0};
  std::mutex mutex_;
  size_t tokens_ = 0;
  bool ended_ = false;
  Code code_ = Code::kInternal;
  std::shared_ptr<Outbox> outbox_ = std::make_shared<Outbox>(
      Outbox::Surroundings{world_.clock, world_.metrics, world_.clock.now()},
      Outbox::Hooks{.wake = [this] { world_.courier.wake(*this); },
                    .on_prompt_done = [this] { world_.admission.on_prompt_done(1); },
                    .on_end = [this] { world_.admission.on_end(); }});
};

TEST(Courier, CarriesEveryAnswerToItsEndWhateverTheThreads) {
  constexpr int kCalls = 40, kTokens = 2000;
  const SteadyClock clock;
  Metrics metrics;
  Admission admission({.queue = kCalls, .queue_tokens = kCalls, .queue_age = std::chrono::hours(1)},
                      clock, [] { return EngineLoad(); });
  Courier courier(clock);
  Queue<FakeCall*> writes(kCalls);
  std::atomic<bool> stop{false};
  std::vector<std::thread> writers;
  for (int i = 0; i < 3; ++i) {
    writers.emplace_back([&] {
      while (!stop) {
        for (FakeCall* call : writes.take_all()) call->advance();
        std::this_thread::yield();
      }
    });
  }
  std::vector<std::unique_ptr<FakeCall>> calls;
  for (int i = 0; i < kCalls; ++i) {
    ASSERT_TRUE(admission.submit(1, kNever, [] { return Status(); }).ok());
    calls.push_back(
        std::make_unique<FakeCall>(FakeCall::World{clock, metrics, courier, admission, writes}));
  }

  std::thread step([&] {
    for (int token = 0; token < kTokens; ++token) {
      for (const auto& call : calls) {
        AnswerDelta delta;
        delta.tokens = {token};
        call->outbox()->on_delta(std::move(delta));
      }
    }
    for (const auto& call : calls) {
      EndOfAnswer end;
      end.reason = FinishReason::kEos;
      call->outbox()->on_end(std::move(end));
    }
  });
  for (int i = 0; i < kCalls; i += 2) calls[i]->outbox()->abandon(Status(Code::kAborted, "slow"));
  step.join();
  for (const auto& call : calls) {
    while (!call->ended()) std::this_thread::yield();
  }
  for (int i = 0; i < kCalls; ++i) {
    EXPECT_EQ(calls[i]->code(), i % 2 == 0 ? Code::kAborted : Code::kOk);
    if (i % 2 == 1) {
      EXPECT_EQ(calls[i]->tokens(), size_t{kTokens});
    }
  }
  EXPECT_EQ(metrics.generation_tokens, uint64_t{kCalls} * kTokens);
  EXPECT_EQ(admission.in_flight(), 0);
  EXPECT_EQ(courier.open_calls(), size_t{kCalls});
  stop = true;
  for (std::thread& writer : writers) writer.join();
}

}  // namespace
}  // namespace switchyard
