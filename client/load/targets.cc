#include "client/load/targets.h"

#include <algorithm>
#include <thread>

#include "client/load/words.h"
#include "client/rpc/call.h"
#include "client/rpc/status_details.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "switchyard/v1/model.grpc.pb.h"

namespace switchyard {
namespace {

using Clock = std::chrono::steady_clock;
namespace health = grpc::health::v1;

constexpr std::chrono::milliseconds kBetweenLooks{100};
constexpr std::chrono::seconds kCallTime{10};

// Ok: it serves.
absl::Status look(Targets::Lane& lane, std::chrono::system_clock::time_point deadline) {
  grpc::ClientContext context;
  context.set_deadline(deadline);
  context.set_wait_for_ready(true);
  health::HealthCheckResponse response;
  const grpc::Status status = health::Health::NewStub(lane.channel)->Check(&context, {}, &response);
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) return absl::OkStatus();
  if (!status.ok()) return absl::UnavailableError(describe(status, lane.target));
  if (response.status() == health::HealthCheckResponse::SERVING) return absl::OkStatus();
  return absl::UnavailableError(words("the node at ", lane.target, " is not serving"));
}

}  // namespace

Targets::Targets(const ChannelOptions& options,
                 const std::vector<std::string>& addresses,
                 int channels,
                 BalancePolicy policy)
    : addresses_(addresses),
      channels_(channels),
      policy_(policy),
      balancer_(make_balancer(policy, addresses)),
      connection_(addresses.size()) {
  for (int i = 0; i < channels; ++i) {
    for (const std::string& address : addresses) {
      ChannelOptions own = options;
      own.target = address;
      own.own_connection = true;
      auto channel = open_channel(own);
      auto stub = v1::GenerationService::NewStub(channel);
      lanes_.push_back({address, std::move(channel), std::move(stub)});
    }
  }
  if (policy == BalancePolicy::kWeightedRoundRobin) {
    std::vector<std::shared_ptr<grpc::Channel>> reporters;
    for (size_t i = 0; i < addresses.size(); ++i) reporters.push_back(lanes_[i].channel);
    loads_ = std::make_unique<LoadWatch>(std::move(reporters));
  }
}

Targets::Lane& Targets::pick(std::string_view key, std::string_view avoided) {
  const size_t targets = addresses_.size();
  const auto lane_of = [&](size_t target) -> Lane& {
    return lanes_[connection_[target] * targets + target];
  };
  // Connections that are idle or being made may well lead somewhere: the call waits for them.
  const auto usable = [&](size_t target) {
    return addresses_[target] != avoided &&
           lane_of(target).channel->GetState(false) != GRPC_CHANNEL_TRANSIENT_FAILURE;
  };
  if (loads_) {
    const int64_t now_ns = std::chrono::nanoseconds(Clock::now().time_since_epoch()).count();
    for (const auto& [reporter, load] : loads_->take()) balancer_->learn(reporter, load, now_ns);
  }
  const size_t target = balancer_->pick(key, usable);
  Lane& lane = lane_of(target);
  connection_[target] = (connection_[target] + 1) % static_cast<size_t>(channels_);
  return lane;
}

Targets::Lane& Targets::next() {
  Lane& lane = lanes_[next_];
  next_ = (next_ + 1) % lanes_.size();
  return lane;
}

absl::Status Targets::wait_until_ready(std::chrono::milliseconds time) {
  const Clock::time_point end = Clock::now() + time;
  const auto deadline = std::chrono::system_clock::now() + time;
  for (Lane& lane : lanes_) {
    for (absl::Status status = look(lane, deadline); !status.ok(); status = look(lane, deadline)) {
      if (Clock::now() + kBetweenLooks >= end) return status;
      std::this_thread::sleep_for(kBetweenLooks);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Model> Targets::model(const std::string& name) {
  v1::Model model;
  for (size_t i = 0; i < addresses_.size(); ++i) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kCallTime);
    v1::GetModelRequest request;
    request.set_model(name);
    v1::GetModelResponse response;
    const grpc::Status status =
        v1::ModelService::NewStub(lanes_[i].channel)->GetModel(&context, request, &response);
    if (!status.ok()) return absl::UnavailableError(describe(status, lanes_[i].target));
    if (i == 0) {
      model = response.model();
    } else if (response.model().vocab_size() != model.vocab_size() ||
               response.model().name() != model.name()) {
      return absl::FailedPreconditionError(
          words(addresses_[0], " serves ", model.name(), " of ", model.vocab_size(), " tokens and ",
                addresses_[i], " serves ", response.model().name(), " of ",
                response.model().vocab_size(), ": a load needs one model"));
    }
  }
  return model;
}

}  // namespace switchyard
