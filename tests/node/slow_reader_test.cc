// A client that does not read: it is never waited for, and not kept for ever.
#include <gtest/gtest.h>

#include "tests/node/test_node.h"

namespace switchyard {
namespace {

// With all alternatives reported, an answer is larger than what gRPC and the kernel buffer.
v1::GenerateRequest wordy() {
  v1::GenerateRequest request = endless();
  request.mutable_logprobs()->set_top(20);
  return request;
}

// A channel that takes little at a time, so that few tokens fill it.
std::unique_ptr<v1::GenerationService::Stub> narrow_stub(TestNode& node) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1024);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return v1::GenerationService::NewStub(grpc::CreateCustomChannel(
      node.server().grpc_address(), grpc::InsecureChannelCredentials(), arguments));
}

TEST(SlowReader, HoldsUpNobodyAndLosesNothing) {
  TestNode node({"--stall-limit", "60s", "--max-context", "1200"});
  const auto stub = narrow_stub(node);
  grpc::ClientContext context;
  auto slow = stub->GenerateStream(&context, wordy());
  v1::GenerateStreamResponse event;
  ASSERT_TRUE(slow->Read(&event));
  EXPECT_TRUE(generate(node, greedy("hello", 50)).ok());  // while nobody reads the other
  // The engine ends the answer at the context limit without the reader's help.
  ASSERT_TRUE(
      TestNode::eventually([&] { return node.node().serving()->admission.in_flight() == 0; }));
  EXPECT_GT(node.node().metrics().coalesced_deltas, 0u);

  int tokens = 0;
  v1::Usage usage;
  while (slow->Read(&event)) {
    tokens += event.delta().token_count();
    if (event.has_usage()) usage = event.usage();
  }
  EXPECT_TRUE(slow->Finish().ok());
  EXPECT_EQ(tokens, usage.completion_tokens());
  EXPECT_GT(node.node().metrics().backpressure_nanoseconds, 0);
  EXPECT_TRUE(node.becomes_idle());
}

TEST(SlowReader, IsCutOffAtTheStallLimit) {
  TestNode node({"--stall-limit", "300ms"});
  const auto stub = narrow_stub(node);
  grpc::ClientContext context;
  auto slow = stub->GenerateStream(&context, wordy());
  v1::GenerateStreamResponse event;
  ASSERT_TRUE(slow->Read(&event));
  EXPECT_TRUE(node.becomes_idle());  // without another read
  while (slow->Read(&event)) {
  }
  const auto code = slow->Finish().error_code();
  EXPECT_TRUE(code == grpc::StatusCode::ABORTED || code == grpc::StatusCode::CANCELLED) << code;
}

}  // namespace
}  // namespace switchyard
