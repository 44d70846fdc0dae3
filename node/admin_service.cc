#include "node/admin_service.h"

#include <algorithm>

#include "node/answer_now.h"
#include "node/node.h"
#include "switchyard/v1/admin.grpc.pb.h"

namespace switchyard {
namespace {

using v1::AdminService;
using RawService =
    AdminService::WithRawCallbackMethod_ListInFlight<AdminService::WithRawCallbackMethod_Abort<
        AdminService::WithRawCallbackMethod_Drain<AdminService::Service>>>;

v1::Phase phase_of(Phase phase) {
  switch (phase) {
    case Phase::kQueued:
      return v1::PHASE_QUEUED;
    case Phase::kPrefill:
      return v1::PHASE_PREFILL;
    case Phase::kDecode:
      return v1::PHASE_DECODE;
  }
  return v1::PHASE_UNSPECIFIED;
}

void write_request(const InFlight& request, v1::InFlightRequest& out) {
  out.set_id(static_cast<uint64_t>(request.id));
  out.set_request_id(request.label);
  out.set_tenant(request.tenant);
  out.set_phase(phase_of(request.phase));
  out.set_priority(request.priority);
  out.set_prompt_tokens(request.prompt_tokens);
  out.set_completion_tokens(request.completion_tokens);
  write_duration(request.age, *out.mutable_age());
}

bool is_meant(const v1::AbortRequest& ask, const InFlight& request) {
  return std::ranges::find(ask.ids(), static_cast<uint64_t>(request.id)) != ask.ids().end() ||
         (!request.label.empty() &&
          std::ranges::find(ask.request_ids(), request.label) != ask.request_ids().end());
}

class AdminServiceOfNode final : public RawService {
 public:
  explicit AdminServiceOfNode(Node& node) : node_(node) {}

  grpc::ServerUnaryReactor* ListInFlight(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override {
    return answer_now<v1::ListInFlightRequest>(
        {node_, Rpc::kListInFlight, *context, *request, *response},
        [this](const v1::ListInFlightRequest&) -> Result<v1::ListInFlightResponse> {
          const Serving* serving = node_.serving();
          if (serving == nullptr) return Node::starting();
          v1::ListInFlightResponse answer;
          for (const InFlight& in_flight : serving->engine->in_flight()) {
            write_request(in_flight, *answer.add_requests());
          }
          return answer;
        });
  }

  grpc::ServerUnaryReactor* Abort(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override {
    return answer_now<v1::AbortRequest>(
        {node_, Rpc::kAbort, *context, *request, *response},
        [this](const v1::AbortRequest& ask) -> Result<v1::AbortResponse> {
          const Serving* serving = node_.serving();
          if (serving == nullptr) return Node::starting();
          if (ask.ids().empty() && ask.request_ids().empty()) {
            return Status::invalid("ids", "neither ids nor request_ids has an entry");
          }
          const Status why =
              Status(Code::kAborted, "aborted by an operator").with_reason("ADMIN_ABORT");
          v1::AbortResponse answer;
          for (const InFlight& in_flight : serving->engine->in_flight()) {
            if (!is_meant(ask, in_flight)) continue;
            serving->engine->cancel(in_flight.id, why);
            answer.set_aborted(answer.aborted() + 1);
          }
          node_.log().warn("abort", {{"requests", answer.aborted()}});
          return answer;
        });
  }

  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override {
    return answer_now<v1::DrainRequest>(
        {node_, Rpc::kDrain, *context, *request, *response},
        [this](const v1::DrainRequest&) -> Result<v1::DrainResponse> {
          const Serving* serving = node_.serving();
          if (serving == nullptr) return Node::starting();
          node_.drain();
          v1::DrainResponse answer;
          answer.set_in_flight(serving->admission.in_flight());
          node_.log().warn("drain", {{"asked_by", "admin"}, {"in_flight", answer.in_flight()}});
          return answer;
        });
  }

 private:
  Node& node_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_admin_service(Node& node) {
  return std::make_unique<AdminServiceOfNode>(node);
}

}  // namespace switchyard
