// A step that hangs, one that is only slow, and a load that takes long: what health says of each.
#include <gtest/gtest.h>

#include "tests/node/test_node.h"
#include "tests/support/hanging_backend.h"

namespace switchyard {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using std::chrono::milliseconds;
using Instant = std::chrono::steady_clock::time_point;

class StallTest : public testing::Test {
 protected:
  std::unique_ptr<TestNode> start(const std::vector<const char*>& flags) {
    auto node = TestNode::starting(flags);
    MadeBackend cpu = make_backend("cpu", {.threads = 1});
    node->load_on({.backend = std::make_unique<HangingBackend>(std::move(cpu.backend), hang_),
                   .message = cpu.message});
    return node;
  }
  static bool serves(TestNode& node, const std::string& service) {
    grpc::ClientContext context;
    HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    EXPECT_TRUE(node.health->Check(&context, request, &response).ok());
    return response.status() == HealthCheckResponse::SERVING;
  }
  static v1::GetLoadResponse load_of(TestNode& node) {
    grpc::ClientContext context;
    v1::GetLoadResponse load;
    EXPECT_TRUE(node.telemetry->GetLoad(&context, {}, &load).ok());
    return load;
  }
  // Seconds until the service stops being served.
  static double seconds_until_not_served(TestNode& node, const std::string& service, Instant from) {
    EXPECT_TRUE(TestNode::eventually([&] { return !serves(node, service); }));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
  }

  std::shared_ptr<Hang> hang_ = std::make_shared<Hang>();
};

TEST_F(StallTest, AHungStepTurnsReadinessOffWithinFiveSecondsAndLivenessAtItsLimit) {
  const auto node = start({"--progress-limit", "6s"});  // ready: as it comes
  Stream stream(*node, greedy("hello", 200));
  ASSERT_TRUE(stream.wait_for_tokens());
  hang_->begin();
  const Instant hung = std::chrono::steady_clock::now();

  EXPECT_LT(seconds_until_not_served(*node, "readiness", hung), 5);
  EXPECT_FALSE(serves(*node, "switchyard.v1.GenerationService"));
  EXPECT_TRUE(serves(*node, "liveness"));
  EXPECT_TRUE(serves(*node, "startup"));
  const v1::GetLoadResponse stalled = load_of(*node);
  EXPECT_EQ(stalled.state(), v1::NODE_STATE_STALLED);
  EXPECT_EQ(stalled.in_flight(), 1);  // the step loop cannot say so any more

  EXPECT_LT(seconds_until_not_served(*node, "liveness", hung), 7);
  EXPECT_EQ(load_of(*node).state(), v1::NODE_STATE_FAILED);

  hang_->end();
  EXPECT_TRUE(TestNode::eventually([&] { return serves(*node, "readiness"); }));
  EXPECT_TRUE(serves(*node, "liveness"));
  EXPECT_TRUE(stream.read_to_end().ok());
  EXPECT_EQ(stream.tokens.size(), 200u);
}

TEST_F(StallTest, ARequestThatWaitsBehindAHungStepIsCountedToo) {
  const auto node = start({"--ready-progress-limit", "200ms", "--max-batch-rows", "1"});
  Stream running(*node, greedy("hello", 50));
  ASSERT_TRUE(running.wait_for_tokens());
  hang_->begin();
  Stream waiting(*node, greedy("hello", 5));
  EXPECT_TRUE(TestNode::eventually([&] { return load_of(*node).in_flight() == 2; }));
  EXPECT_TRUE(TestNode::eventually([&] { return !serves(*node, "readiness"); }));
  hang_->end();
  EXPECT_TRUE(running.read_to_end().ok());
  EXPECT_TRUE(waiting.read_to_end().ok());
}

TEST_F(StallTest, AStepLongerThanTheLimitIsReadyAsLongAsItsLayersGoOn) {
  const auto node = start({"--ready-progress-limit", "1s"});
  hang_->slow_down(milliseconds(600));  // the demo model has several layers with attention
  Stream stream(*node, greedy("hello", 1));
  bool always = true;
  const Instant began = std::chrono::steady_clock::now();
  std::thread reader([&] { EXPECT_TRUE(stream.read_to_end().ok()); });
  while (load_of(*node).in_flight() > 0 ||
         std::chrono::steady_clock::now() - began < milliseconds(100)) {
    always = serves(*node, "readiness") && always;
    std::this_thread::sleep_for(milliseconds(20));
  }
  reader.join();
  EXPECT_GT(std::chrono::steady_clock::now() - began, milliseconds(1100));
  EXPECT_TRUE(always);
}

TEST_F(StallTest, ALoadThatTakesLongerThanEveryLimitIsAliveAndNotReady) {
  const auto node =
      TestNode::starting({"--ready-progress-limit", "50ms", "--progress-limit", "100ms"});
  const Instant began = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - began < milliseconds(600)) {
    ASSERT_TRUE(serves(*node, "liveness"));
    ASSERT_FALSE(serves(*node, "readiness"));
    ASSERT_FALSE(serves(*node, "startup"));
    std::this_thread::sleep_for(milliseconds(20));
  }
  node->load();
  EXPECT_TRUE(TestNode::eventually([&] { return serves(*node, "readiness"); }));
}

}  // namespace
}  // namespace switchyard
