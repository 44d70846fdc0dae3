// Whatever ends an answer from outside, in whatever phase, gives back its blocks and slots.
#include <gtest/gtest.h>

#include <thread>

#include "tests/node/test_node.h"

namespace switchyard {
namespace {

// One token of prompt a step: a prompt takes long enough to be cancelled in.
const std::vector<const char*> kSlowPrompts = {"--max-batch-tokens", "1", "--max-batch-rows", "1"};

uint64_t cancelled(TestNode& node, Phase phase) {
  return node.node().metrics().cancelled[static_cast<size_t>(phase)];
}

bool has_phase(TestNode& node, Phase phase) {
  const auto in_flight = node.engine().in_flight();
  return std::ranges::any_of(in_flight, [&](const InFlight& one) { return one.phase == phase; });
}

TEST(Cancel, DuringThePrompt) {
  TestNode node(kSlowPrompts);
  Stream stream(node, long_prompt(2000));
  ASSERT_TRUE(TestNode::eventually([&] { return has_phase(node, Phase::kPrefill); }));
  stream.context.TryCancel();
  EXPECT_EQ(stream.read_to_end().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(node.becomes_idle());
  EXPECT_EQ(cancelled(node, Phase::kPrefill), 1u);
}

TEST(Cancel, DuringTheAnswer) {
  TestNode node;
  Stream stream(node, endless());
  ASSERT_TRUE(stream.wait_for_tokens());
  stream.context.TryCancel();
  EXPECT_EQ(stream.read_to_end().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(node.becomes_idle());
  EXPECT_EQ(cancelled(node, Phase::kDecode), 1u);
}

TEST(Cancel, WhileItWaits) {
  TestNode node(kSlowPrompts);
  Stream running(node, long_prompt(2000));
  ASSERT_TRUE(TestNode::eventually([&] { return has_phase(node, Phase::kPrefill); }));
  Stream waiting(node, greedy("hello", 4));
  ASSERT_TRUE(TestNode::eventually([&] { return has_phase(node, Phase::kQueued); }));
  waiting.context.TryCancel();
  EXPECT_TRUE(TestNode::eventually([&] { return cancelled(node, Phase::kQueued) == 1; }));
  running.context.TryCancel();
  EXPECT_TRUE(node.becomes_idle());
  EXPECT_EQ(waiting.read_to_end().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(running.read_to_end().error_code(), grpc::StatusCode::CANCELLED);
}

TEST(Cancel, OfAUnaryCall) {
  TestNode node;
  grpc::ClientContext context;
  std::thread canceller([&] {
    TestNode::eventually([&] { return has_phase(node, Phase::kDecode); });
    context.TryCancel();
  });
  v1::GenerateResponse response;
  EXPECT_EQ(node.generation->Generate(&context, endless(), &response).error_code(),
            grpc::StatusCode::CANCELLED);
  canceller.join();
  EXPECT_TRUE(node.becomes_idle());
}

TEST(Cancel, ByTheDeadline) {
  TestNode node(kSlowPrompts);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
  v1::GenerateResponse response;
  EXPECT_EQ(node.generation->Generate(&context, long_prompt(2000), &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(node.becomes_idle());
  const auto generate = static_cast<size_t>(AnswerMethod::kGenerate);
  const auto code = static_cast<size_t>(Code::kDeadlineExceeded);
  EXPECT_EQ(node.node().metrics().failed[generate][code], 1u);
}

TEST(Cancel, ByAnOperatorWithTheCallersName) {
  TestNode node;
  v1::GenerateRequest request = endless();
  request.set_request_id("mine");
  Stream first(node, request);
  Stream second(node, request);  // names need not be unique
  Stream other(node, endless());
  for (Stream* stream : {&first, &second, &other}) ASSERT_TRUE(stream->wait_for_tokens());

  v1::ListInFlightResponse listed;
  grpc::ClientContext listing;
  ASSERT_TRUE(node.admin->ListInFlight(&listing, {}, &listed).ok());
  EXPECT_EQ(listed.requests_size(), 3);

  v1::AbortRequest abort;
  abort.add_request_ids("mine");
  v1::AbortResponse aborted;
  grpc::ClientContext aborting;
  ASSERT_TRUE(node.admin->Abort(&aborting, abort, &aborted).ok());
  EXPECT_EQ(aborted.aborted(), 2);
  EXPECT_EQ(first.read_to_end().error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(second.read_to_end().error_code(), grpc::StatusCode::ABORTED);
  other.context.TryCancel();
  other.read_to_end();
  EXPECT_TRUE(node.becomes_idle());
}

}  // namespace
}  // namespace switchyard
