// LoadWatch: follows what targets say of themselves, out of band (ORCA's OpenRcaService, gRFC A51).
// gRPC's C core shows the reports in trailers to its own policies alone.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "client/load/balance.h"
#include "client/rpc/cancel_token.h"

namespace switchyard {

class LoadWatch {
 public:
  // A thread for each target. A stream that ends is asked for again after a second.
  explicit LoadWatch(std::vector<std::shared_ptr<grpc::Channel>> targets);
  ~LoadWatch();

  // Reports since the last call, one for each target at most. Any thread.
  std::vector<std::pair<size_t, TargetLoad>> take();

 private:
  struct Target {
    std::shared_ptr<grpc::Channel> channel;
    CancelToken stop;
    std::optional<TargetLoad> news;  // under mutex_
    std::thread thread;
  };
  void follow(Target& target);

  std::mutex mutex_;
  std::vector<std::unique_ptr<Target>> targets_;
};

}  // namespace switchyard
