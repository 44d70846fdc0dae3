// StubNode: a gRPC server in this process that answers from a script, well or badly.
// Tests of the client alone; it has no engine and checks nothing that the test does not ask for.
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "switchyard/v1/chat.grpc.pb.h"
#include "switchyard/v1/generation.grpc.pb.h"
#include "switchyard/v1/model.grpc.pb.h"

namespace switchyard::test {

template <typename... Details>
grpc::Status status_with(grpc::StatusCode code,
                         const std::string& message,
                         const Details&... details) {
  google::rpc::Status packed;
  packed.set_code(code);
  packed.set_message(message);
  (packed.add_details()->PackFrom(details), ...);
  return {code, message, packed.SerializeAsString()};
}

inline google::rpc::RetryInfo retry_after(std::chrono::milliseconds delay) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(delay.count() / 1000);
  info.mutable_retry_delay()->set_nanos(static_cast<int32_t>(delay.count() % 1000 * 1'000'000));
  return info;
}

// One attempt's stream: what is sent, then how it ends. `hold` keeps it open until cancelled.
template <typename Event>
struct Script {
  std::vector<Event> events = {};
  grpc::Status status = {};
  enum class Then { kEnd, kHold } then = Then::kEnd;
};

template <typename Event>
Event started() {
  Event event;
  event.mutable_started()->set_id(7);
  event.mutable_started()->set_prompt_tokens(3);
  return event;
}
template <typename Event>
Event text(const std::string& piece, std::vector<int32_t> tokens) {
  Event event;
  event.mutable_delta()->set_text(piece);
  event.mutable_delta()->mutable_token_ids()->Add(tokens.begin(), tokens.end());
  event.mutable_delta()->set_token_count(static_cast<int32_t>(tokens.size()));
  return event;
}
template <typename Event>
Event finished() {
  Event event;
  event.mutable_finished()->set_reason(v1::FINISH_REASON_EOS);
  return event;
}
template <typename Event>
Event usage() {
  Event event;
  event.mutable_usage()->set_prompt_tokens(3);
  event.mutable_usage()->set_completion_tokens(2);
  event.mutable_usage()->mutable_timings()->mutable_first_token()->set_nanos(18'000'000);
  event.mutable_usage()->mutable_timings()->mutable_decode()->set_nanos(10'000'000);
  return event;
}
template <typename Event>
Script<Event> answer(const std::string& said) {
  return {
      .events = {started<Event>(), text<Event>(said, {11, 12}), finished<Event>(), usage<Event>()}};
}

class StubNode {
 public:
  using Generated = v1::GenerateStreamResponse;
  using Said = v1::CompleteStreamResponse;

  StubNode() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&generation_);
    builder.RegisterService(&chat_);
    builder.RegisterService(&model_);
    server_ = builder.BuildAndStart();
  }
  ~StubNode() { server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1)); }

  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  // Each stream takes the next script; when there is none, the call fails with INTERNAL.
  StubNode& streams(Script<Generated> script) {
    return generation_.scripts.add(std::move(script)), *this;
  }
  StubNode& says(Script<Said> script) { return chat_.scripts.add(std::move(script)), *this; }
  StubNode& serves(v1::Model model) { return model_.models.push_back(std::move(model)), *this; }

  [[nodiscard]] int stream_attempts() const { return generation_.attempts; }
  [[nodiscard]] int cancelled_calls() const { return generation_.cancelled + chat_.cancelled; }
  [[nodiscard]] std::vector<v1::CompleteRequest> conversations() { return chat_.requests(); }

 private:
  template <typename Event>
  class Scripts {
   public:
    void add(Script<Event> script) {
      std::lock_guard lock(mutex_);
      scripts_.push_back(std::move(script));
    }
    Script<Event> next() {
      std::lock_guard lock(mutex_);
      if (scripts_.empty()) return {.status = {grpc::StatusCode::INTERNAL, "the script is over"}};
      Script<Event> script = std::move(scripts_.front());
      scripts_.pop_front();
      return script;
    }

   private:
    std::mutex mutex_;
    std::deque<Script<Event>> scripts_;  // under mutex_
  };

  template <typename Event>
  static grpc::Status play(Script<Event> script,
                           grpc::ServerContext& context,
                           grpc::ServerWriter<Event>& writer,
                           std::atomic<int>& cancelled) {
    for (const Event& event : script.events) writer.Write(event);
    while (script.then == Script<Event>::Then::kHold && !context.IsCancelled()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    if (context.IsCancelled()) ++cancelled;
    return script.status;
  }

  struct Generation : v1::GenerationService::Service {
    grpc::Status GenerateStream(grpc::ServerContext* context,
                                const v1::GenerateRequest*,
                                grpc::ServerWriter<Generated>* writer) override {
      ++attempts;
      return play(scripts.next(), *context, *writer, cancelled);
    }
    grpc::Status Generate(grpc::ServerContext*,
                          const v1::GenerateRequest* request,
                          v1::GenerateResponse* response) override {
      response->set_text(request->text() + ", of course");
      response->add_token_ids(11);
      response->mutable_finished()->set_reason(v1::FINISH_REASON_MAX_TOKENS);
      response->mutable_usage()->set_completion_tokens(1);
      return {};
    }
    Scripts<Generated> scripts;
    std::atomic<int> attempts = 0;
    std::atomic<int> cancelled = 0;
  };

  struct Chat : v1::ChatService::Service {
    grpc::Status CompleteStream(grpc::ServerContext* context,
                                const v1::CompleteRequest* request,
                                grpc::ServerWriter<Said>* writer) override {
      {
        std::lock_guard lock(mutex);
        asked.push_back(*request);
      }
      return play(scripts.next(), *context, *writer, cancelled);
    }
    std::vector<v1::CompleteRequest> requests() {
      std::lock_guard lock(mutex);
      return asked;
    }
    Scripts<Said> scripts;
    std::atomic<int> cancelled = 0;
    std::mutex mutex;
    std::vector<v1::CompleteRequest> asked;  // under mutex
  };

  struct Models : v1::ModelService::Service {
    grpc::Status ListModels(grpc::ServerContext*,
                            const v1::ListModelsRequest*,
                            v1::ListModelsResponse* response) override {
      for (const v1::Model& model : models) *response->add_models() = model;
      return {};
    }
    grpc::Status GetModel(grpc::ServerContext*,
                          const v1::GetModelRequest* request,
                          v1::GetModelResponse* response) override {
      for (const v1::Model& model : models) {
        if (model.name() == request->model()) {
          *response->mutable_model() = model;
          return {};
        }
      }
      google::rpc::ResourceInfo resource;
      resource.set_resource_type("model");
      resource.set_resource_name(request->model());
      return status_with(grpc::StatusCode::NOT_FOUND, "no such model", resource);
    }
    std::vector<v1::Model> models;  // set before the first call
  };

  int port_ = 0;
  Generation generation_;
  Chat chat_;
  Models model_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace switchyard::test
