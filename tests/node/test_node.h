// A whole node in this process, serving the demo model on free ports, and stubs to talk to it.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "grpc/health/v1/health.grpc.pb.h"
#include "node/node.h"
#include "node/server.h"
#include "switchyard/v1/admin.grpc.pb.h"
#include "switchyard/v1/chat.grpc.pb.h"
#include "switchyard/v1/generation.grpc.pb.h"
#include "switchyard/v1/model.grpc.pb.h"
#include "switchyard/v1/telemetry.grpc.pb.h"

namespace switchyard {

class TestNode {
 public:
  // With these flags beside those that a test always needs.
  explicit TestNode(const std::vector<const char*>& flags = {});
  ~TestNode();

  // Bound and not loaded: what a node is while it starts.
  static std::unique_ptr<TestNode> starting(const std::vector<const char*>& flags = {});
  void load();
  void load_on(MadeBackend backend);

  [[nodiscard]] Node& node() { return *node_; }
  [[nodiscard]] Server& server() { return *server_; }
  [[nodiscard]] Engine& engine() { return *node_->serving()->engine; }

  // Polls for up to thirty seconds.
  static bool eventually(const std::function<bool()>& holds);
  // Nothing in flight, and every block and slot free again.
  bool becomes_idle();

  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::GenerationService::Stub> generation;
  std::unique_ptr<v1::ChatService::Stub> chat;
  std::unique_ptr<v1::ModelService::Stub> models;
  std::unique_ptr<v1::TelemetryService::Stub> telemetry;
  std::unique_ptr<v1::AdminService::Stub> admin;
  std::unique_ptr<grpc::health::v1::Health::Stub> health;

 private:
  struct WithoutModel {};
  TestNode(const std::vector<const char*>& flags, WithoutModel);

  Config config_;
  Log log_{"off"};
  SteadyClock clock_;
  std::unique_ptr<Node> node_;
  std::unique_ptr<Server> server_;
};

// A greedy request for exactly so many tokens.
v1::GenerateRequest greedy(const std::string& text, int tokens);
// Goes on until the context is full.
v1::GenerateRequest endless();
// A prompt of so many tokens.
v1::GenerateRequest long_prompt(int tokens);

// One stream, read as it comes.
class Stream {
 public:
  Stream(TestNode& node, const v1::GenerateRequest& request)
      : reader_(node.generation->GenerateStream(&context, request)) {}

  // False at the end.
  bool next() { return reader_->Read(&event); }
  // Up to and with the first tokens.
  bool wait_for_tokens();
  grpc::Status finish() { return reader_->Finish(); }
  grpc::Status read_to_end();

  // Before the first read only the context is of use.
  grpc::ClientContext context;
  v1::GenerateStreamResponse event;
  std::vector<int32_t> tokens;
  std::string text;
  v1::Usage usage;
  int deltas = 0;

 private:
  void keep();
  std::unique_ptr<grpc::ClientReader<v1::GenerateStreamResponse>> reader_;
};

grpc::Status generate(TestNode& node,
                      const v1::GenerateRequest& request,
                      v1::GenerateResponse* response = nullptr);

}  // namespace switchyard
