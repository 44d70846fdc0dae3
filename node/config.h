// Config: everything `serve` can be told, as one plain struct.
// Filled once (flags > SWITCHYARD_* environment > configuration file > defaults), validated once,
// printed once; nobody reads flags or the environment after that.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/result.h"
#include "engine/weights/weight_plan.h"

namespace switchyard {

struct Config {
  std::filesystem::path model;  // folder with config.json, weights, tokenizer.json
  std::string model_name;       // what requests call it
  std::string node_id;          // unique in a cluster
  std::string backend = "auto";
  int threads = 0;                              // 0: the cores this process may use
  std::optional<uint64_t> random_weights_seed;  // set: weights are random, of the config's shapes
  WeightPlan weight_plan;

  std::string listen = "127.0.0.1:50051";  // HOST:PORT; port 0 picks a free one
  std::string metrics = "127.0.0.1:9464";
  std::string admin = "127.0.0.1:50052";
  // The public listener's; all empty: plaintext, and whoever reaches it may call.
  std::filesystem::path tls_cert, tls_key;  // PEM; both or neither
  std::filesystem::path tls_client_ca;      // PEM: callers must show a certificate of these
  std::filesystem::path tokens_file;        // see tokens.h
  Duration reload_interval = std::chrono::seconds(30);  // of looks at those files
  bool reflection = true;
  bool vllm_metrics = true;        // /metrics has vLLM's names too
  bool metrics_on_listen = false;  // /metrics over HTTP/1 on `listen` too; not with TLS
  bool orca = true;                // answers carry a load report in their trailers

  int max_batch_tokens = 0;     // 0: the engine's choice
  int max_batch_rows = 0;       // 0: the engine's choice
  int max_context_tokens = 0;   // 0: the model's
  int64_t kv_memory_bytes = 0;  // 0: the engine's choice
  int kv_block_tokens = 64;

  int max_queue = 1024;
  int64_t max_queue_tokens = 1'000'000;
  Duration max_queue_age = std::chrono::seconds(60);

  Duration drain_limit = std::chrono::seconds(90);
  Duration stall_limit = std::chrono::seconds(60);  // of a reader that takes nothing
  // Of an engine that has work: without progress it is not ready, and then not alive.
  Duration ready_progress_limit = std::chrono::seconds(4);
  Duration progress_limit = std::chrono::seconds(60);
  int max_message_bytes = 64 << 20;
  Duration max_connection_age = std::chrono::minutes(10);
  Duration max_connection_grace = std::chrono::minutes(30);

  std::string log_level = "info";
};

// What asking for --help gives instead of a Config.
struct HelpText {
  std::string text;
};

// The value of an environment variable, or nothing.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// `arguments` are those after the subcommand. invalid_argument names the flag; never throws.
Result<std::variant<Config, HelpText>> read_config(std::span<const char* const> arguments,
                                                   const Environment& environment);

// Flag -> value, in the order of --help.
std::vector<std::pair<std::string, std::string>> describe(const Config& config);

}  // namespace switchyard
