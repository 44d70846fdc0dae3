#include "node/chat_service.h"

#include "node/answer_now.h"
#include "node/convert_request.h"
#include "node/stream_call.h"
#include "node/unary_call.h"
#include "switchyard/v1/chat.grpc.pb.h"

namespace switchyard {
namespace {

using v1::ChatService;
using RawService = ChatService::WithRawCallbackMethod_Complete<
    ChatService::WithRawCallbackMethod_CompleteStream<ChatService::Service>>;

class ChatServiceOfNode final : public RawService {
 public:
  explicit ChatServiceOfNode(Node& node) : node_(node) {}

  grpc::ServerUnaryReactor* Complete(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    return UnaryCall::start({node_, *context, format_, AnswerMethod::kComplete, request->Length()},
                            reader(*request), *response);
  }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* CompleteStream(
      grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) override {
    return StreamCall::start(
        {node_, *context, format_, AnswerMethod::kCompleteStream, request->Length()},
        reader(*request));
  }

 private:
  static QuestionReader reader(const grpc::ByteBuffer& bytes) {
    return [&bytes](const SamplingParameters& defaults) -> Result<Question> {
      const Result<v1::CompleteRequest> request = parse_message<v1::CompleteRequest>(bytes);
      if (!request.ok()) return request.status();
      return read_question(*request, defaults);
    };
  }

  Node& node_;
  const ChatFormat format_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_chat_service(Node& node) {
  return std::make_unique<ChatServiceOfNode>(node);
}

}  // namespace switchyard
