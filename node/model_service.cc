#include "node/model_service.h"

#include "node/answer_now.h"
#include "node/convert_request.h"
#include "node/node.h"
#include "switchyard/v1/model.grpc.pb.h"

namespace switchyard {
namespace {

using v1::ModelService;
using RawService = ModelService::WithRawCallbackMethod_ListModels<
    ModelService::WithRawCallbackMethod_GetModel<ModelService::Service>>;

void write_model(const Serving& serving, v1::Model& out) {
  const Engine& engine = *serving.engine;
  out.set_name(serving.model.name());
  out.set_architecture(engine.model_config().architecture);
  out.set_context_tokens(engine.request_limits().context_tokens);
  out.set_vocab_size(engine.request_limits().vocab_size);
  out.set_weight_bytes(engine.weight_bytes());
  write_sampling(serving.model.sampling_defaults(), *out.mutable_sampling_defaults());
  for (const int32_t token : engine.request_limits().eos_tokens) out.add_eos_token_ids(token);
  out.set_has_tokenizer(engine.has_tokenizer());
  out.set_has_chat_template(serving.model.has_chat_template());
}

class ModelServiceOfNode final : public RawService {
 public:
  explicit ModelServiceOfNode(Node& node) : node_(node) {}

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    return answer_now<v1::ListModelsRequest>(
        {node_, Rpc::kListModels, *context, *request, *response},
        [this](const v1::ListModelsRequest&) -> Result<v1::ListModelsResponse> {
          const Serving* serving = node_.serving();
          if (serving == nullptr) return Node::starting();
          v1::ListModelsResponse answer;
          write_model(*serving, *answer.add_models());
          return answer;
        });
  }

  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    return answer_now<v1::GetModelRequest>(
        {node_, Rpc::kGetModel, *context, *request, *response},
        [this](const v1::GetModelRequest& ask) -> Result<v1::GetModelResponse> {
          const Serving* serving = node_.serving();
          if (serving == nullptr) return Node::starting();
          if (Status status = serving->model.check_name(ask.model()); !status.ok()) return status;
          v1::GetModelResponse answer;
          write_model(*serving, *answer.mutable_model());
          return answer;
        });
  }

 private:
  Node& node_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_model_service(Node& node) {
  return std::make_unique<ModelServiceOfNode>(node);
}

}  // namespace switchyard
