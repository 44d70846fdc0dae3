#include "client/load/token_counter.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "client/rpc/status_details.h"

namespace switchyard {
namespace {

constexpr std::chrono::seconds kCallTime{30};
constexpr size_t kAtOnce = 16;

}  // namespace

absl::StatusOr<std::vector<int32_t>> count_tokens(Targets& targets,
                                                  const std::string& model,
                                                  const std::vector<std::string_view>& texts,
                                                  CancelToken& cancel) {
  std::vector<int32_t> counts(texts.size());
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  absl::Status first_failure;  // under mutex
  const auto fail = [&](absl::Status status) {
    std::lock_guard lock(mutex);
    if (first_failure.ok()) first_failure = std::move(status);
    next = texts.size();
  };
  const auto work = [&](Targets::Lane& lane) {
    for (size_t i = next++; i < texts.size(); i = next++) {
      if (cancel.cancelled()) return fail(absl::CancelledError("interrupted"));
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + kCallTime);
      v1::TokenizeRequest request;
      request.set_model(model);
      request.set_text(std::string(texts[i]));
      request.set_add_special_tokens(false);
      v1::TokenizeResponse response;
      const grpc::Status status = lane.stub->Tokenize(&context, request, &response);
      if (!status.ok()) return fail(absl::UnavailableError(describe(status, lane.target)));
      counts[i] = response.token_ids_size();
    }
  };
  std::vector<std::thread> threads;
  for (size_t i = 0; i < std::min(kAtOnce, texts.size()); ++i) {
    threads.emplace_back([&work, &lane = targets.next()] { work(lane); });
  }
  for (std::thread& thread : threads) thread.join();
  if (!first_failure.ok()) return first_failure;
  return counts;
}

}  // namespace switchyard
