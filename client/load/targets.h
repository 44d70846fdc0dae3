// Targets: the addresses that a load goes to, each over one or several connections. Knows which is
// next, whether they serve, and what; knows no request.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "client/load/balance.h"
#include "client/load/load_watch.h"
#include "client/rpc/channel.h"
#include "switchyard/v1/generation.grpc.pb.h"
#include "switchyard/v1/model.pb.h"

namespace switchyard {

class Targets {
 public:
  struct Lane {
    std::string target;
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<v1::GenerationService::Stub> stub;
  };

  // One entry of `addresses` for each target, with everything else of `options`. At least one of
  // each.
  Targets(const ChannelOptions& options,
          const std::vector<std::string>& addresses,
          int channels,
          BalancePolicy policy = BalancePolicy::kRoundRobin);

  // For a request of a load: a target as the policy has it, whose connections take turns. One that
  // cannot be reached now is passed over, and so is `avoided` (an address), if another can.
  Lane& pick(std::string_view key, std::string_view avoided = {});
  // For calls that are no part of a load: each lane in its turn.
  Lane& next();

  // Returns when every connection leads to a node that says it serves, or why one does not within
  // the time. A server without a health service counts as serving once it answers.
  absl::Status wait_until_ready(std::chrono::milliseconds time);

  // The model of that name (empty: the only one); every target must have the same vocabulary.
  absl::StatusOr<v1::Model> model(const std::string& name);

  [[nodiscard]] const std::vector<std::string>& addresses() const { return addresses_; }
  [[nodiscard]] int channels() const { return channels_; }
  [[nodiscard]] BalancePolicy policy() const { return policy_; }

 private:
  const std::vector<std::string> addresses_;
  const int channels_;
  const BalancePolicy policy_;
  const std::unique_ptr<Balancer> balancer_;
  std::vector<Lane> lanes_;           // each target once, then each again over its next connection
  std::vector<size_t> connection_;    // of each target: the next one's turn
  std::unique_ptr<LoadWatch> loads_;  // where weights ask for them
  size_t next_ = 0;
};

}  // namespace switchyard
