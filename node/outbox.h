// Outbox: one answer between the step thread, which never waits, and a reader, who may be slow.
// Bounded in messages: when it is full, additions are merged, which loses nothing because every
// message says how many tokens it carries. Knows nothing of gRPC or of what a message looks like.
#pragma once

#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <variant>

#include "engine/base/clock.h"
#include "engine/request/request.h"
#include "node/metrics.h"

namespace switchyard {

// Appends what came later to what came before.
void merge(AnswerDelta& into, AnswerDelta&& later);

// Any thread. The reader is either awake, and will call take() again, or asleep, and will be woken
// once by the next thing that arrives: so at any time at most one thread acts for it.
class Outbox final : public TokenSink {
 public:
  static constexpr size_t kMaxDeltas = 256;

  struct Hooks {
    // All on the step thread, outside the lock; must return at once.
    std::function<void()> wake;
    std::function<void()> on_prompt_done;  // once: at the first tokens, or at an end without any
    std::function<void()> on_end;          // once, after it: the engine has ended the answer
  };
  struct Surroundings {
    const Clock& clock;
    Metrics& metrics;
    TimePoint arrival;
  };
  // What `around` refers to must outlive it. The reader begins asleep.
  Outbox(Surroundings around, Hooks hooks) : around_(around), hooks_(std::move(hooks)) {}

  // Step thread.
  void on_delta(AnswerDelta delta) override;
  void on_end(EndOfAnswer end) override;

  // The reader, awake. An addition, or the end (once, last), or nothing: it is then asleep.
  using Item = std::variant<std::monostate, AnswerDelta, EndOfAnswer>;
  Item take();

  // Any thread. What was not taken is dropped, and the answer ends with `why` whatever the engine
  // says; it still ends only when the engine does.
  void abandon(Status why);

 private:
  void observe(const AnswerDelta& delta);
  void wake_reader(std::unique_lock<std::mutex> lock);

  const Surroundings around_;
  const Hooks hooks_;
  std::optional<TimePoint> last_delta_;  // step thread only

  std::mutex mutex_;  // guards everything below
  std::deque<AnswerDelta> deltas_;
  std::optional<EndOfAnswer> end_;
  std::optional<Status> abandoned_;
  std::optional<TimePoint> full_since_;
  bool awake_ = false;
};

}  // namespace switchyard
