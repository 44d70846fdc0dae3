// Questions that a node refuses: one clear status each, with details that programs can read.
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <future>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "node/convert_answer.h"
#include "tests/node/test_node.h"

namespace switchyard {
namespace {

// The detail of that type, or an empty one.
template <typename Detail>
Detail detail_of(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  Detail detail;
  for (const auto& any : details.details()) {
    if (any.UnpackTo(&detail)) return detail;
  }
  return Detail();
}

std::string violated_field(const grpc::Status& status) {
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
  const auto bad = detail_of<google::rpc::BadRequest>(status);
  return bad.field_violations_size() == 1 ? bad.field_violations(0).field() : "";
}

TEST(Refusals, NameTheFieldThatIsWrong) {
  TestNode node;
  EXPECT_EQ(violated_field(generate(node, v1::GenerateRequest())), "input");
  EXPECT_EQ(violated_field(generate(node, long_prompt(5000))), "input");
  v1::GenerateRequest request = greedy("x", 4);
  request.mutable_sampling()->set_temperature(-1);
  EXPECT_EQ(violated_field(generate(node, request)), "sampling.temperature");
  request = greedy("x", 0);
  EXPECT_EQ(violated_field(generate(node, request)), "stop.max_new_tokens");
  Stream stream(node, request);
  EXPECT_EQ(violated_field(stream.read_to_end()), "stop.max_new_tokens");
  EXPECT_TRUE(node.becomes_idle());
  EXPECT_TRUE(generate(node, greedy("x", 2)).ok());
}

TEST(Refusals, OfAnUnknownModelNameIt) {
  TestNode node;
  v1::GenerateRequest request = greedy("x", 4);
  request.set_model("gpt-17");
  const grpc::Status status = generate(node, request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(detail_of<google::rpc::ResourceInfo>(status).resource_name(), "gpt-17");
}

TEST(Refusals, OfTextThatIsNotUtf8AreTheCallersFault) {
  TestNode node;
  grpc::GenericStub stub(node.channel);
  const std::string bytes = "\x1a\x02\xff\xfe";  // field 3, `text`
  const grpc::Slice slice(bytes);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer response;
  grpc::ClientContext context;
  std::promise<grpc::Status> ended;
  stub.UnaryCall(&context, "/switchyard.v1.GenerationService/Generate", {}, &request, &response,
                 [&](const grpc::Status& status) { ended.set_value(status); });
  EXPECT_EQ(violated_field(ended.get_future().get()), "request");
}

TEST(Refusals, OfWhatCanNeverFitSaySo) {
  TestNode node({"--kv-memory", "100KiB"});
  v1::GenerateRequest request = long_prompt(1500);
  request.mutable_stop()->set_max_new_tokens(400);
  const grpc::Status status = generate(node, request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION) << status.error_message();
  EXPECT_EQ(detail_of<google::rpc::PreconditionFailure>(status).violations_size(), 1);
  EXPECT_TRUE(generate(node, greedy("x", 2)).ok());
}

TEST(Refusals, OfAFullQueueSayWhenToComeBack) {
  TestNode node({"--max-queue", "1", "--max-batch-rows", "1"});
  Stream running(node, endless());
  ASSERT_TRUE(running.wait_for_tokens());
  // The load is counted after the tokens went out.
  ASSERT_TRUE(TestNode::eventually([&] { return node.engine().load().running == 1; }));
  Stream waiting(node, greedy("x", 1));
  ASSERT_TRUE(TestNode::eventually([&] { return node.engine().load().waiting == 1; }));
  grpc::ClientContext context;
  v1::GenerateResponse response;
  const grpc::Status status = node.generation->Generate(&context, greedy("x", 1), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(detail_of<google::rpc::ErrorInfo>(status).reason(), "QUEUE_FULL");
  EXPECT_TRUE(detail_of<google::rpc::RetryInfo>(status).has_retry_delay());
  EXPECT_EQ(context.GetServerTrailingMetadata().count("grpc-retry-pushback-ms"), 1u);
  running.context.TryCancel();
  running.read_to_end();
  EXPECT_TRUE(waiting.read_to_end().ok());
}

TEST(Refusals, WhileStartingSayWhenToComeBack) {
  const auto node = TestNode::starting();
  const grpc::Status status = generate(*node, greedy("x", 1));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(detail_of<google::rpc::ErrorInfo>(status).reason(), "STARTING");
  EXPECT_TRUE(detail_of<google::rpc::RetryInfo>(status).has_retry_delay());
  node->load();
  EXPECT_TRUE(generate(*node, greedy("x", 1)).ok());
}

TEST(Refusals, OfAMessageAboveTheLimitComeFromTheTransport) {
  TestNode node({"--max-message-bytes", "64KiB"});
  const grpc::Status status = generate(node, greedy(std::string(100'000, 'x'), 1));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(status.error_details().empty());  // no RetryInfo: it is not worth a retry
}

}  // namespace
}  // namespace switchyard
