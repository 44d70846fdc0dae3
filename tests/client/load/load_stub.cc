#include "tests/client/load/load_stub.h"

#include <grpcpp/server_builder.h>

#include <deque>
#include <utility>

#include "xds/service/orca/v3/orca.grpc.pb.h"

namespace switchyard::test {

// One answer. gRPC's reactions and the clock's thread meet under its lock.
class LoadStub::Stream final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  Stream(LoadStub& stub, StubAnswer answer, int32_t prompt_tokens)
      : stub_(stub), answer_(std::move(answer)), prompt_tokens_(prompt_tokens) {}

  // Keeps itself alive until OnDone.
  void begin(std::shared_ptr<Stream> self) {
    self_ = self;
    ++stub_.open_;
    if (!answer_.refusal.ok()) {
      std::lock_guard lock(mutex_);
      return finish(answer_.refusal);
    }
    due_ = Clock::now() + answer_.first_token;
    stub_.at(due_, std::move(self));
  }

  // The clock's thread: the next delta is due.
  void tick(const std::shared_ptr<Stream>& self) {
    std::lock_guard lock(mutex_);
    if (finished_) return;
    if (sent_ == 0) {
      v1::GenerateStreamResponse started;
      started.mutable_started()->set_node_id("stub");
      started.mutable_started()->set_prompt_tokens(prompt_tokens_);
      push(started);
    }
    v1::GenerateStreamResponse delta;
    const int32_t count = std::min(answer_.tokens_per_delta, answer_.tokens - sent_);
    for (int32_t i = 0; i < count; ++i) delta.mutable_delta()->add_token_ids(sent_ + i);
    delta.mutable_delta()->set_token_count(count);
    delta.mutable_delta()->set_text("x");
    push(delta);
    sent_ += count;
    if (sent_ < answer_.tokens) {
      // From the time that was due, so that delays do not add up.
      due_ += answer_.gap;
      stub_.at(due_, self);
    } else {
      complete_ = true;
      v1::GenerateStreamResponse finished;
      finished.mutable_finished()->set_reason(v1::FINISH_REASON_MAX_TOKENS);
      push(finished);
      if (!answer_.without_usage) {
        v1::GenerateStreamResponse usage;
        usage.mutable_usage()->set_prompt_tokens(prompt_tokens_);
        usage.mutable_usage()->set_completion_tokens(sent_);
        push(usage);
      }
    }
    write_next();
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    outbox_.pop_front();
    if (!ok || cancelled_) return finish(grpc::Status::CANCELLED);
    write_next();
  }
  void OnCancel() override {
    std::lock_guard lock(mutex_);
    ++stub_.cancelled_;
    cancelled_ = true;
    if (!writing_) finish(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    --stub_.open_;
    const std::shared_ptr<Stream> last = std::move(self_);
  }

 private:
  void push(const v1::GenerateStreamResponse& message) {
    bool own = false;
    (void)grpc::SerializationTraits<v1::GenerateStreamResponse>::Serialize(
        message, &outbox_.emplace_back(), &own);
  }
  void write_next() {
    if (writing_ || finished_) return;
    if (outbox_.empty()) {
      if (complete_) finish({});
      return;
    }
    writing_ = true;
    StartWrite(&outbox_.front());
  }
  void finish(const grpc::Status& status) {
    if (!std::exchange(finished_, true)) Finish(status);
  }

  LoadStub& stub_;
  const StubAnswer answer_;
  const int32_t prompt_tokens_;
  std::shared_ptr<Stream> self_;
  std::mutex mutex_;  // guards everything below
  Clock::time_point due_;
  std::deque<grpc::ByteBuffer> outbox_;
  int32_t sent_ = 0;
  bool writing_ = false;
  bool complete_ = false;
  bool cancelled_ = false;
  bool finished_ = false;
};

// Takes bytes, as a node does, to say itself what it cannot read.
struct LoadStub::Generation
    : v1::GenerationService::WithRawCallbackMethod_GenerateStream<v1::GenerationService::Service> {
  explicit Generation(LoadStub& owner) : stub(owner) {}

  grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerateStream(
      grpc::CallbackServerContext* context, const grpc::ByteBuffer* bytes) override {
    v1::GenerateRequest request;
    grpc::ByteBuffer copy = *bytes;  // reading one empties it
    const grpc::Status read =
        grpc::SerializationTraits<v1::GenerateRequest>::Deserialize(&copy, &request);
    if (!read.ok()) {
      return begin({.refusal = {grpc::StatusCode::INVALID_ARGUMENT, "no request"}}, 0);
    }
    if (stub.keep_) {
      const auto& metadata = context->client_metadata();
      const auto session = metadata.find("x-session-id");
      Seen seen{request, "", context->peer(), Clock::now()};
      if (session != metadata.end()) {
        seen.session.assign(session->second.data(), session->second.size());
      }
      std::lock_guard lock(stub.mutex_);
      stub.seen_.push_back(std::move(seen));
    }
    return begin(stub.respond_(request), request.token_ids().ids_size());
  }

  Stream* begin(StubAnswer answer, int32_t prompt_tokens) {
    auto stream = std::make_shared<Stream>(stub, std::move(answer), prompt_tokens);
    Stream* reactor = stream.get();
    reactor->begin(std::move(stream));
    return reactor;
  }

  LoadStub& stub;
};

struct LoadStub::Models : v1::ModelService::Service {
  grpc::Status GetModel(grpc::ServerContext*,
                        const v1::GetModelRequest*,
                        v1::GetModelResponse* response) override {
    response->mutable_model()->set_name("stub");
    response->mutable_model()->set_vocab_size(1000);
    response->mutable_model()->add_eos_token_ids(2);
    return {};
  }
};

struct LoadStub::Health : grpc::health::v1::Health::Service {
  explicit Health(const LoadStub& owner) : stub(owner) {}

  grpc::Status Check(grpc::ServerContext*,
                     const grpc::health::v1::HealthCheckRequest*,
                     grpc::health::v1::HealthCheckResponse* response) override {
    response->set_status(stub.serving_ ? grpc::health::v1::HealthCheckResponse::SERVING
                                       : grpc::health::v1::HealthCheckResponse::NOT_SERVING);
    return {};
  }

  const LoadStub& stub;
};

struct LoadStub::Reports : xds::service::orca::v3::OpenRcaService::Service {
  explicit Reports(const LoadStub& owner) : stub(owner) {}

  grpc::Status StreamCoreMetrics(
      grpc::ServerContext* context,
      const xds::service::orca::v3::OrcaLoadReportRequest*,
      grpc::ServerWriter<xds::data::orca::v3::OrcaLoadReport>* writer) override {
    if (stub.utilization_ == 0) return {grpc::StatusCode::UNIMPLEMENTED, "no reports"};
    while (!context->IsCancelled()) {
      xds::data::orca::v3::OrcaLoadReport report;
      report.set_application_utilization(stub.utilization_);
      report.set_rps_fractional(10);
      if (!writer->Write(report)) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return {};
  }

  const LoadStub& stub;
};

LoadStub::LoadStub(Respond respond)
    : respond_(std::move(respond)),
      generation_(std::make_unique<Generation>(*this)),
      models_(std::make_unique<Models>()),
      health_(std::make_unique<Health>(*this)),
      reports_(std::make_unique<Reports>(*this)) {
  grpc::EnableDefaultHealthCheckService(false);
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(generation_.get());
  builder.RegisterService(models_.get());
  builder.RegisterService(health_.get());
  builder.RegisterService(reports_.get());
  server_ = builder.BuildAndStart();
  time_ = std::thread([this] { keep_time(); });
}

LoadStub::~LoadStub() {
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  time_.join();
}

void LoadStub::stall(Clock::time_point at, std::chrono::milliseconds time) {
  std::lock_guard lock(mutex_);
  stall_from_ = at;
  stall_to_ = at + time;
  changed_.notify_all();
}

std::vector<LoadStub::Seen> LoadStub::seen() {
  std::lock_guard lock(mutex_);
  return seen_;
}

void LoadStub::at(Clock::time_point due, std::shared_ptr<Stream> stream) {
  std::lock_guard lock(mutex_);
  const int64_t due_ns = std::chrono::nanoseconds(due.time_since_epoch()).count();
  const bool is_first = due_ns < agenda_.next_ns();
  agenda_.add(due_ns, std::move(stream));
  if (is_first) changed_.notify_all();
}

void LoadStub::keep_time() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    const Clock::time_point now = Clock::now();
    if (now >= stall_from_ && now < stall_to_) {
      changed_.wait_until(lock, stall_to_);
      continue;
    }
    const int64_t now_ns = std::chrono::nanoseconds(now.time_since_epoch()).count();
    if (agenda_.next_ns() > now_ns) {
      if (agenda_.empty()) {
        changed_.wait(lock);
      } else {
        changed_.wait_until(lock, Clock::time_point(std::chrono::nanoseconds(agenda_.next_ns())));
      }
      continue;
    }
    const std::shared_ptr<Stream> stream = agenda_.take();
    lock.unlock();
    stream->tick(stream);
    lock.lock();
  }
}

}  // namespace switchyard::test
