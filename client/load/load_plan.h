// LoadPlan: a specification with its files read and its prompts' tokens known: what will be asked,
// and when. The driver carries it out; a workload file keeps it.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <variant>
#include <vector>

#include "client/load/load_spec.h"
#include "client/load/planned_request.h"
#include "client/load/prompt_file.h"
#include "client/load/request_maker.h"

namespace switchyard {

// The source's requests bring their own times (`at_ns`), rising.
struct OwnTimes {};
using Pace = std::variant<OwnTimes, OpenLoop, ClosedLoop>;

struct LoadPlan {
  std::unique_ptr<ConversationSource> source;
  Pace pace;
  uint64_t seed = 0;  // what it was made from: the specification's, or the replayed file's
};

// Reads the files that `spec` names. `space` is for prompts that have no tokens of their own,
// `count_tokens` for recorded answers, of which each gives a length.
absl::StatusOr<LoadPlan> make_plan(const LoadSpec& spec,
                                   const TokenSpace& space,
                                   const CountTokens& count_tokens);

// The requests of an open loop, one after the other with their times: so many conversations at
// once take turns, and one that is over makes room for the next.
class RequestStream {
 public:
  // `plan` must outlive this and its pace not be a closed loop's.
  RequestStream(LoadPlan& plan, const LoadSpec& spec);

  // Nothing: there are no more, or none within the specification's count and duration.
  std::optional<PlannedRequest> next();
  // There would have been more, after the duration.
  [[nodiscard]] bool out_of_time() const { return out_of_time_; }

 private:
  struct Seat {
    Conversation turns;
    size_t next = 0;
  };

  std::optional<PlannedRequest> deal();
  std::nullopt_t end_by_time();

  ConversationSource& source_;
  std::optional<Arrivals> arrivals_;
  std::vector<Seat> seats_;
  size_t seat_ = 0;
  int64_t left_;    // requests
  int64_t end_ns_;  // of the duration
  bool out_of_time_ = false;
};

// Writes all of the plan's requests. A closed loop without a count has no end and is refused.
absl::Status save_plan(LoadPlan plan, const LoadSpec& spec, std::ostream& out);

}  // namespace switchyard
