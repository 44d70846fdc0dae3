#include "node/generation_service.h"

#include "node/answer_now.h"
#include "node/convert_request.h"
#include "node/stream_call.h"
#include "node/unary_call.h"
#include "switchyard/v1/generation.grpc.pb.h"

namespace switchyard {
namespace {

using v1::GenerationService;
using RawService = GenerationService::WithRawCallbackMethod_Generate<
    GenerationService::WithRawCallbackMethod_GenerateStream<
        GenerationService::WithRawCallbackMethod_Tokenize<
            GenerationService::WithRawCallbackMethod_Detokenize<
                GenerationService::WithRawCallbackMethod_RenderChat<GenerationService::Service>>>>>;

class GenerationServiceOfNode final : public RawService {
 public:
  explicit GenerationServiceOfNode(Node& node) : node_(node) {}

  grpc::ServerUnaryReactor* Generate(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    return UnaryCall::start({node_, *context, format_, AnswerMethod::kGenerate, request->Length()},
                            reader(*request), *response);
  }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerateStream(
      grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) override {
    return StreamCall::start(
        {node_, *context, format_, AnswerMethod::kGenerateStream, request->Length()},
        reader(*request));
  }

  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    return answer_now<v1::TokenizeRequest>(
        {node_, Rpc::kTokenize, *context, *request, *response},
        [this](const v1::TokenizeRequest& ask) -> Result<v1::TokenizeResponse> {
          const Result<const ServedModel*> model = served(ask.model());
          if (!model.ok()) return model.status();
          return to_response<v1::TokenizeResponse>((*model)->tokenize(TextPrompt{
              .text = ask.text(),
              .add_special_tokens = !ask.has_add_special_tokens() || ask.add_special_tokens()}));
        });
  }

  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    return answer_now<v1::DetokenizeRequest>(
        {node_, Rpc::kDetokenize, *context, *request, *response},
        [this](const v1::DetokenizeRequest& ask) -> Result<v1::DetokenizeResponse> {
          const Result<const ServedModel*> model = served(ask.model());
          if (!model.ok()) return model.status();
          const bool skip_special = !ask.has_skip_special_tokens() || ask.skip_special_tokens();
          Result<std::string> text =
              (*model)->detokenize({ask.token_ids().data(), size_t(ask.token_ids_size())},
                                   {.skip_special = skip_special});
          if (!text.ok()) return text.status();
          v1::DetokenizeResponse answer;
          answer.set_text(std::move(*text));
          return answer;
        });
  }

  grpc::ServerUnaryReactor* RenderChat(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    return answer_now<v1::RenderChatRequest>(
        {node_, Rpc::kRenderChat, *context, *request, *response},
        [this](const v1::RenderChatRequest& ask) -> Result<v1::RenderChatResponse> {
          const Result<const ServedModel*> model = served(ask.model());
          if (!model.ok()) return model.status();
          const Result<ChatPrompt> chat = read_chat(ask.chat());
          if (!chat.ok()) return chat.status();
          Result<std::string> text = (*model)->render(*chat);
          if (!text.ok()) return text.status();
          Result<v1::RenderChatResponse> answer = to_response<v1::RenderChatResponse>(
              (*model)->tokenize(TextPrompt{.text = *text, .add_special_tokens = false}));
          if (answer.ok()) answer->set_text(std::move(*text));
          return answer;
        });
  }

 private:
  [[nodiscard]] QuestionReader reader(const grpc::ByteBuffer& bytes) const {
    return [&bytes](const SamplingParameters& defaults) -> Result<Question> {
      const Result<v1::GenerateRequest> request = parse_message<v1::GenerateRequest>(bytes);
      if (!request.ok()) return request.status();
      return read_question(*request, defaults);
    };
  }

  Result<const ServedModel*> served(const std::string& name) const {
    const Serving* serving = node_.serving();
    if (serving == nullptr) return Node::starting();
    if (Status status = serving->model.check_name(name); !status.ok()) return status;
    return &serving->model;
  }

  template <typename Response>
  static Result<Response> to_response(const Result<std::vector<int32_t>>& tokens) {
    if (!tokens.ok()) return tokens.status();
    Response response;
    response.mutable_token_ids()->Assign(tokens->begin(), tokens->end());
    return response;
  }

  Node& node_;
  const GenerationFormat format_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_generation_service(Node& node) {
  return std::make_unique<GenerationServiceOfNode>(node);
}

}  // namespace switchyard
