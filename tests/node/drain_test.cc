// A node that starts, drains and stops, as health and callers see it.
#include <gtest/gtest.h>

#include "tests/node/test_node.h"

namespace switchyard {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

HealthCheckResponse::ServingStatus check(TestNode& node, const std::string& service) {
  grpc::ClientContext context;
  HealthCheckRequest request;
  request.set_service(service);
  HealthCheckResponse response;
  EXPECT_TRUE(node.health->Check(&context, request, &response).ok());
  return response.status();
}

TEST(Lifecycle, HealthWatchFollowsFromStartToDrain) {
  const auto node = TestNode::starting();
  grpc::ClientContext context;
  HealthCheckResponse state;
  const auto watch = node->health->Watch(&context, HealthCheckRequest());
  ASSERT_TRUE(watch->Read(&state));
  EXPECT_EQ(state.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(check(*node, "startup"), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(check(*node, "liveness"), HealthCheckResponse::SERVING);

  node->load();
  ASSERT_TRUE(watch->Read(&state));
  EXPECT_EQ(state.status(), HealthCheckResponse::SERVING);
  EXPECT_EQ(check(*node, "startup"), HealthCheckResponse::SERVING);
  EXPECT_EQ(check(*node, "switchyard.v1.GenerationService"), HealthCheckResponse::SERVING);

  node->node().drain();
  ASSERT_TRUE(watch->Read(&state));  // the watchdog saw it
  EXPECT_EQ(state.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(check(*node, "liveness"), HealthCheckResponse::SERVING);

  node->server().stop(std::chrono::seconds(5));
  EXPECT_FALSE(watch->Read(&state));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST(Lifecycle, AnUnknownServiceIsWatchedAndNotFound) {
  TestNode node;
  HealthCheckRequest request;
  request.set_service("no.such.Service");
  HealthCheckResponse state;
  grpc::ClientContext checking, watching;
  EXPECT_EQ(node.health->Check(&checking, request, &state).error_code(),
            grpc::StatusCode::NOT_FOUND);
  const auto watch = node.health->Watch(&watching, request);
  ASSERT_TRUE(watch->Read(&state));
  EXPECT_EQ(state.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  watching.TryCancel();
  EXPECT_FALSE(watch->Read(&state));
  watch->Finish();
}

TEST(Lifecycle, DrainingFinishesWhatRunsAndRefusesWhatIsNew) {
  TestNode node;
  v1::GenerateRequest request = greedy("hello", 300);
  Stream running(node, request);
  ASSERT_TRUE(running.wait_for_tokens());
  v1::DrainResponse drained;
  grpc::ClientContext context;
  ASSERT_TRUE(node.admin->Drain(&context, {}, &drained).ok());
  EXPECT_EQ(drained.in_flight(), 1);
  EXPECT_EQ(generate(node, greedy("x", 1)).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(running.read_to_end().ok());
  EXPECT_EQ(running.tokens.size(), 300u);
}

TEST(Lifecycle, WhatIsCutAtTheLimitIsToldSo) {
  TestNode node;
  Stream running(node, endless());
  ASSERT_TRUE(running.wait_for_tokens());
  node.node().drain();
  node.node().cancel_all(Status::busy(Code::kUnavailable, "DRAINING", {}, "the node stopped"));
  EXPECT_EQ(running.read_to_end().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(node.becomes_idle());
}

TEST(Lifecycle, TwoNodesCannotShareAnAddress) {
  TestNode first;
  const std::string address = first.server().grpc_address();
  const std::vector<const char*> flags = {"--model", "m",           "--listen",  address.c_str(),
                                          "--admin", "127.0.0.1:0", "--metrics", "127.0.0.1:0"};
  const auto config = read_config(flags, [](const std::string&) { return std::nullopt; });
  Log log("off");
  const SteadyClock clock;
  Node second(std::get<Config>(*config), clock, log);
  const auto server = Server::start(second);
  ASSERT_FALSE(server.ok());
  EXPECT_NE(server.status().message().find(address), std::string::npos);
}

}  // namespace
}  // namespace switchyard
