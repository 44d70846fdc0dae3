#include "node/serve.h"

#include <google/protobuf/stubs/logging.h>
#include <sys/resource.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <thread>
#include <utility>

#include "node/config.h"
#include "node/node.h"
#include "node/server.h"
#include "node/stop_signals.h"
#include "node/units.h"

namespace switchyard {
namespace {

using std::chrono::milliseconds;

// What answers get to hear of their end once the drain limit has passed, and the network to say so.
constexpr Duration kEndLimit = std::chrono::seconds(5);
constexpr milliseconds kCloseLimit{1000};
constexpr milliseconds kPollInterval{20};
// A call that reaches a connection while gRPC closes it ends with CANCELLED, without a word of
// where to go. So the listener refuses until nobody has called for a while, though not for ever.
constexpr Duration kQuiet = milliseconds(200);
constexpr Duration kQuietLimit = std::chrono::seconds(2);

std::optional<std::string> environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

// A connection is a descriptor, and gRPC's listener accepts nobody any more once it has run out of
// them. Whoever starts us may let us have more than we begin with.
void take_all_descriptors() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

// True when no call is open any more, false when `limit` passed first.
bool wait_for_calls(Node& node, Duration limit) {
  const TimePoint deadline = node.clock().now() + limit;
  while (node.courier().open_calls() > 0) {
    if (node.clock().now() >= deadline) return false;
    std::this_thread::sleep_for(kPollInterval);
  }
  return true;
}

void wait_for_quiet(Node& node) {
  const auto now = [&node] { return node.clock().now(); };
  const TimePoint deadline = now() + kQuietLimit;
  TimePoint quiet_since = now();
  uint64_t begun = calls_begun(node.metrics().rpcs);
  while (now() - quiet_since < kQuiet && now() < deadline) {
    std::this_thread::sleep_for(kPollInterval);
    const uint64_t begun_now = calls_begun(node.metrics().rpcs);
    if (begun_now != begun) quiet_since = now();
    begun = begun_now;
  }
}

void drain(Node& node, Server& server) {
  node.log().info("drain", {{"open_calls", node.courier().open_calls()},
                            {"limit", format_duration(node.config().drain_limit)}});
  node.drain();
  server.refresh();
  if (!wait_for_calls(node, node.config().drain_limit)) {
    node.log().warn("drain limit passed", {{"open_calls", node.courier().open_calls()}});
    node.cancel_all(Status::busy(Code::kUnavailable, "DRAINING", milliseconds(1000),
                                 "the node stopped before the answer was complete"));
    if (!wait_for_calls(node, kEndLimit) && node.serving()->admission.in_flight() > 0) {
      // Nothing that waits for the engine can be torn down.
      node.log().error("engine hangs", {{"in_flight", node.serving()->admission.in_flight()}});
      std::_Exit(1);
    }
  }
  wait_for_quiet(node);
  server.stop(kCloseLimit);
  node.log().info("stopped");
}

int serve(const Config& config) {
  std::atomic<bool> loaded{false};
  // Before anything that has threads. A load cannot be interrupted, and nobody waits for an answer.
  StopSignals signals([&loaded] {
    if (!loaded) std::_Exit(0);
  });
  Log log(config.log_level);
  const SteadyClock clock;
  Node node(config, clock, log);
  for (const auto& [flag, value] : describe(config)) {
    log.info("config", {{"flag", flag}, {"value", value}});
  }

  Result<std::unique_ptr<Server>> server = Server::start(node);
  if (!server.ok()) {
    log.error("cannot start", {{"why", server.status().message()}});
    return 1;
  }
  Result<std::unique_ptr<Serving>> serving = Serving::load(config, clock, node.metrics());
  if (!serving.ok()) {
    log.error("cannot load", {{"why", serving.status().message()}});
    return 1;
  }
  if (const WeightLoad read = (*serving)->engine->weight_load(); read.read_bytes > 0) {
    const auto bytes = static_cast<double>(read.read_bytes);
    log.info("read weights", {{"bytes", read.read_bytes},
                              {"seconds", seconds(read.took)},
                              {"gb_per_second", bytes / seconds(read.took) / 1e9}});
  }
  log.info("loaded", {{"model", config.model_name},
                      {"backend", (*serving)->backend_message},
                      {"weight_bytes", (*serving)->engine->weight_bytes()},
                      {"max_batch_tokens", (*serving)->engine->options().max_batch_tokens},
                      {"max_batch_rows", (*serving)->engine->options().max_batch_rows},
                      {"kv_blocks", (*serving)->engine->load().kv_blocks_total},
                      {"seconds", node.metrics().load_seconds.load()},
                      {"warm_up_seconds", node.metrics().warm_up_seconds.load()}});
  node.publish(std::move(*serving));
  loaded = true;
  (*server)->refresh();
  std::printf("switchyard-node ready grpc=%s metrics=%s admin=%s\n",
              (*server)->grpc_address().c_str(), (*server)->metrics_address().c_str(),
              (*server)->admin_address().c_str());
  std::fflush(stdout);

  signals.wait();
  drain(node, **server);
  return 0;
}

}  // namespace

int serve_main(std::span<const char* const> arguments) {
  const auto config = read_config(arguments, environment);
  if (!config.ok()) {
    std::fprintf(stderr, "switchyard-node serve: %s\n", config.status().message().c_str());
    return 2;
  }
  if (const auto* help = std::get_if<HelpText>(&*config)) {
    std::fputs(help->text.c_str(), stdout);
    return 0;
  }
  // Protobuf's parser prints what it rejects; the caller is told, and a log is not the caller's.
  google::protobuf::SetLogHandler(nullptr);
  take_all_descriptors();
  return serve(std::get<Config>(*config));
}

}  // namespace switchyard
