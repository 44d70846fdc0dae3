// Asks a node for one answer and follows its stream: adds it up, and checks that it is one.
// Knows the order of a stream's messages; prints nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "client/rpc/call.h"
#include "switchyard/v1/chat.grpc.pb.h"
#include "switchyard/v1/generation.grpc.pb.h"

namespace switchyard {

struct Answer {
  v1::Started started;
  std::string text;
  std::vector<int32_t> token_ids;
  v1::Finished finished;
  v1::Usage usage;
};

// Not ok: `answer` is what had arrived by then.
struct AnswerOutcome {
  grpc::Status status;
  Answer answer;
};

// The parts of a stream in the order `started delta* finished usage`; INTERNAL for any other.
class AnswerAssembly {
 public:
  grpc::Status take(const v1::Started& started);
  grpc::Status take(const v1::Delta& delta);
  grpc::Status take(const v1::ChatDelta& delta);
  grpc::Status take(const v1::Finished& finished);
  grpc::Status take(const v1::Usage& usage);
  // Ok when the stream may end here.
  [[nodiscard]] grpc::Status complete() const;
  [[nodiscard]] const Answer& answer() const { return answer_; }

 private:
  enum class Stage { kNothing, kStarted, kFinished, kUsage };

  [[nodiscard]] grpc::Status expect(Stage stage, std::string_view message) const;
  grpc::Status add_tokens(const google::protobuf::RepeatedField<int32_t>& ids, int32_t count);

  Stage stage_ = Stage::kNothing;
  Answer answer_;
};

// Called on the asking thread with each new piece of text, as it arrives.
using OnText = std::function<void(std::string_view)>;

struct Listener {
  CancelToken& cancel;
  OnText on_text;
};

AnswerOutcome generate(v1::GenerationService::Stub& stub,
                       const v1::GenerateRequest& request,
                       const CallOptions& options,
                       const Listener& listener);

AnswerOutcome complete(v1::ChatService::Stub& stub,
                       const v1::CompleteRequest& request,
                       const CallOptions& options,
                       const Listener& listener);

}  // namespace switchyard
