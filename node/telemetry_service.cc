#include "node/telemetry_service.h"

#include "node/answer_now.h"
#include "node/node.h"
#include "node/version.h"
#include "switchyard/v1/telemetry.grpc.pb.h"

namespace switchyard {
namespace {

using v1::TelemetryService;
using RawService = TelemetryService::WithRawCallbackMethod_GetNodeInfo<
    TelemetryService::WithRawCallbackMethod_GetLoad<TelemetryService::Service>>;

v1::NodeState state_of(NodeState state) {
  switch (state) {
    case NodeState::kStarting:
      return v1::NODE_STATE_STARTING;
    case NodeState::kReady:
      return v1::NODE_STATE_READY;
    case NodeState::kDraining:
      return v1::NODE_STATE_DRAINING;
    case NodeState::kStalled:
      return v1::NODE_STATE_STALLED;
    case NodeState::kFailed:
      return v1::NODE_STATE_FAILED;
  }
  return v1::NODE_STATE_UNSPECIFIED;
}

void write_limits(const Config& config, v1::GetNodeInfoResponse& out) {
  out.set_max_queue(config.max_queue);
  out.set_max_queue_tokens(config.max_queue_tokens);
  out.set_max_message_bytes(config.max_message_bytes);
}

void write_engine(const Serving& serving, v1::GetNodeInfoResponse& out) {
  const EngineLoad load = serving.engine->load();
  out.set_backend(std::string(serving.backend->name()));
  out.set_kv_block_tokens(serving.engine->options().kv_block_tokens);
  out.set_max_batch_tokens(serving.engine->options().max_batch_tokens);
  out.set_max_batch_rows(serving.engine->options().max_batch_rows);
  out.set_kv_blocks(load.kv_blocks_total);
  out.set_state_slots(load.state_slots_total);
  out.set_max_context_tokens(serving.engine->request_limits().context_tokens);
}

void write_load(const EngineLoad& load, TimePoint now, v1::GetLoadResponse& out) {
  out.set_running(load.running);
  out.set_waiting(load.waiting);
  out.set_queued_prompt_tokens(load.waiting_prompt_tokens);
  write_duration(load.oldest_wait, *out.mutable_oldest_wait());
  out.set_kv_blocks_total(load.kv_blocks_total);
  out.set_kv_blocks_free(load.kv_blocks_free);
  out.set_state_slots_total(load.state_slots_total);
  out.set_state_slots_free(load.state_slots_free);
  out.set_steps(load.steps);
  if (load.steps > 0) write_duration(now - load.last_step, *out.mutable_since_last_step());
}

class TelemetryServiceOfNode final : public RawService {
 public:
  explicit TelemetryServiceOfNode(Node& node) : node_(node) {}

  grpc::ServerUnaryReactor* GetNodeInfo(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) override {
    return answer_now<v1::GetNodeInfoRequest>(
        {node_, Rpc::kGetNodeInfo, *context, *request, *response},
        [this](const v1::GetNodeInfoRequest&) -> Result<v1::GetNodeInfoResponse> {
          const Serving* serving = node_.serving();
          if (serving == nullptr) return Node::starting();
          v1::GetNodeInfoResponse answer;
          answer.set_node_id(node_.config().node_id);
          answer.set_version(std::string(kVersion));
          answer.set_model(serving->model.name());
          const auto since_epoch =
              std::chrono::duration_cast<Duration>(node_.started_at().time_since_epoch());
          answer.mutable_started_at()->set_seconds(since_epoch.count() / 1'000'000'000);
          answer.mutable_started_at()->set_nanos(
              static_cast<int32_t>(since_epoch.count() % 1'000'000'000));
          write_limits(node_.config(), answer);
          write_engine(*serving, answer);
          return answer;
        });
  }

  grpc::ServerUnaryReactor* GetLoad(grpc::CallbackServerContext* context,
                                    const grpc::ByteBuffer* request,
                                    grpc::ByteBuffer* response) override {
    return answer_now<v1::GetLoadRequest>(
        {node_, Rpc::kGetLoad, *context, *request, *response},
        [this](const v1::GetLoadRequest&) -> Result<v1::GetLoadResponse> {
          v1::GetLoadResponse answer;
          answer.set_state(state_of(node_.state()));
          if (const Serving* serving = node_.serving()) {
            write_load(serving->engine->load(), node_.clock().now(), answer);
            answer.set_in_flight(serving->admission.in_flight());
          }
          return answer;
        });
  }

 private:
  Node& node_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_telemetry_service(Node& node) {
  return std::make_unique<TelemetryServiceOfNode>(node);
}

}  // namespace switchyard
