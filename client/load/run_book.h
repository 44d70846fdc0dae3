// RunBook: the records of a run while it goes on, and what can be said of it when it is over.
// One thread's; sends nothing.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "client/load/load_spec.h"
#include "client/load/planned_request.h"
#include "client/load/run.h"
#include "client/rpc/answer.h"

namespace switchyard {

// A request that was answered greedily under load, complete, to be asked again alone.
struct GreedyCase {
  int64_t number = 0;
  v1::GenerateRequest request;
  std::vector<int32_t> token_ids;
};

// Did it end as it was meant to? A fault on purpose that ends in its own way is no failure.
bool ended_as_meant(const RequestRecord& record);

class RunBook {
 public:
  explicit RunBook(const LoadSpec& spec);

  // A request became due. What it returns is its record so far, with its number.
  RequestRecord begin(const PlannedRequest& planned, int64_t intended_ns);
  // It has ended, or never will be sent.
  void end(RequestRecord record);
  // To be kept if it is among the chosen ones, which are drawn from all that are offered.
  void offer(int64_t number, const v1::GenerateRequest& request, const Answer& answer);

  void sample(const LoadSample& sample) { facts_.samples.push_back(sample); }
  // Whatever is not the book's to find out.
  RunFacts& facts() { return facts_; }

  [[nodiscard]] int64_t begun() const { return static_cast<int64_t>(records_.size()); }
  [[nodiscard]] int64_t ended() const { return ended_; }
  [[nodiscard]] int64_t failed() const { return failed_; }

  // Marks what is measured and sums up. To be called once, last.
  LoadRun close(int64_t wall_ns, std::vector<GreedyCase>& greedy_cases);

 private:
  void mark_measured();

  const LoadSpec spec_;
  std::vector<RequestRecord> records_;  // by number
  RunFacts facts_;
  int64_t ended_ = 0;
  int64_t failed_ = 0;
  std::map<uint64_t, GreedyCase> chosen_;  // by a draw of their own: the lowest are kept
};

}  // namespace switchyard
