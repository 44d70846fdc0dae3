// Any bytes as a GenerateRequest, from the wire to a Request: refused with a field, or a Request
// within its limits.
#include <google/protobuf/stubs/logging.h>

#include <cstdint>
#include <limits>
#include <memory>

#include "node/convert_request.h"
#include "node/convert_status.h"
#include "switchyard/v1/generation.pb.h"

namespace {

class NoSink final : public switchyard::TokenSink {
 public:
  void on_delta(switchyard::AnswerDelta /*delta*/) override {}
  void on_end(switchyard::EndOfAnswer /*end*/) override {}
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  google::protobuf::SetLogHandler(nullptr);
  v1::GenerateRequest message;
  if (!message.ParseFromArray(data, static_cast<int>(size))) return 0;
  Result<Question> question = read_question(message, SamplingParameters{});
  if (!question.ok()) {
    CHECK(!question.status().field().empty());
    CHECK(!to_grpc(question.status()).ok());
    return 0;
  }
  RequestFields fields;
  if (const auto* tokens = std::get_if<std::vector<int32_t>>(&question->prompt)) {
    fields.prompt = *tokens;
  } else {
    fields.prompt = {1, 2, 3};
  }
  fields.sampling = question->sampling;
  fields.stop = question->stop;
  fields.stop.max_new_tokens = question->max_new_tokens.value_or(16);
  fields.priority = question->priority;
  fields.sink = std::make_shared<NoSink>();
  const RequestLimits limits{
      .vocab_size = 100, .context_tokens = 64, .kv_tokens = 48, .eos_tokens = {2}};
  const Result<Request> request = Request::make(std::move(fields), limits);
  if (request.ok()) {
    const RequestFields& made = request->fields();
    CHECK(made.prompt.size() + static_cast<size_t>(made.stop.max_new_tokens) <= 64);
    CHECK(made.sampling.temperature >= 0 && made.sampling.top_p > 0);
  } else {
    CHECK(!to_grpc(request.status()).ok());
  }
  return 0;
}
