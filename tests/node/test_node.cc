#include "tests/node/test_node.h"

#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace switchyard {
namespace {

Config test_config(const std::vector<const char*>& flags) {
  std::vector<const char*> all = {"--model",       SWITCHYARD_SOURCE_DIR "/deploy/demo-model",
                                  "--listen",      "127.0.0.1:0",
                                  "--metrics",     "127.0.0.1:0",
                                  "--admin",       "127.0.0.1:0",
                                  "--max-context", "2048",
                                  "--threads",     "1",
                                  "--node-id",     "test-node"};
  all.insert(all.end(), flags.begin(), flags.end());
  const auto config = read_config(all, [](const std::string&) { return std::nullopt; });
  CHECK_OK(config);
  return std::get<Config>(*config);
}

}  // namespace

TestNode::TestNode(const std::vector<const char*>& flags, WithoutModel)
    : config_(test_config(flags)) {
  google::protobuf::SetLogHandler(nullptr);
  node_ = std::make_unique<Node>(config_, clock_, log_);
  auto server = Server::start(*node_);
  CHECK_OK(server);
  server_ = std::move(*server);
  channel = grpc::CreateChannel(server_->grpc_address(), grpc::InsecureChannelCredentials());
  generation = v1::GenerationService::NewStub(channel);
  chat = v1::ChatService::NewStub(channel);
  models = v1::ModelService::NewStub(channel);
  telemetry = v1::TelemetryService::NewStub(channel);
  health = grpc::health::v1::Health::NewStub(channel);
  admin = v1::AdminService::NewStub(
      grpc::CreateChannel(server_->admin_address(), grpc::InsecureChannelCredentials()));
}

TestNode::TestNode(const std::vector<const char*>& flags) : TestNode(flags, WithoutModel{}) {
  load();
}

std::unique_ptr<TestNode> TestNode::starting(const std::vector<const char*>& flags) {
  return std::unique_ptr<TestNode>(new TestNode(flags, WithoutModel{}));
}

void TestNode::load() {
  load_on(make_backend(config_.backend, BackendOptions{.threads = config_.threads}));
}

void TestNode::load_on(MadeBackend backend) {
  auto serving = Serving::load_on(std::move(backend), config_, clock_, node_->metrics());
  CHECK_OK(serving);
  node_->publish(std::move(*serving));
  server_->refresh();
}

TestNode::~TestNode() {
  node_->cancel_all(Status(Code::kAborted, "the test is over"));
  server_->stop(std::chrono::seconds(2));
}

bool TestNode::eventually(const std::function<bool()>& holds) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

bool TestNode::becomes_idle() {
  return eventually([this] {
    const EngineLoad load = engine().load();
    return node_->courier().open_calls() == 0 && node_->serving()->admission.in_flight() == 0 &&
           load.running == 0 && load.waiting == 0 && load.kv_blocks_free == load.kv_blocks_total &&
           load.state_slots_free == load.state_slots_total;
  });
}

v1::GenerateRequest greedy(const std::string& text, int tokens) {
  v1::GenerateRequest request;
  request.set_text(text);
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stop()->set_max_new_tokens(tokens);
  request.mutable_stop()->set_ignore_eos(true);
  return request;
}

v1::GenerateRequest endless() {
  v1::GenerateRequest request = greedy("hello", 1);
  request.mutable_stop()->clear_max_new_tokens();
  return request;
}

v1::GenerateRequest long_prompt(int tokens) {
  v1::GenerateRequest request = greedy("", 4);
  for (int i = 0; i < tokens; ++i) request.mutable_token_ids()->add_ids(100 + i % 50);
  return request;
}

void Stream::keep() {
  if (event.has_delta()) {
    ++deltas;
    tokens.insert(tokens.end(), event.delta().token_ids().begin(), event.delta().token_ids().end());
    text += event.delta().text();
  }
  if (event.has_usage()) usage = event.usage();
}

bool Stream::wait_for_tokens() {
  while (next()) {
    keep();
    if (!tokens.empty()) return true;
  }
  return false;
}

grpc::Status Stream::read_to_end() {
  while (next()) keep();
  return finish();
}

grpc::Status generate(TestNode& node,
                      const v1::GenerateRequest& request,
                      v1::GenerateResponse* response) {
  grpc::ClientContext context;
  v1::GenerateResponse unwanted;
  return node.generation->Generate(&context, request, response != nullptr ? response : &unwanted);
}

}  // namespace switchyard
