#include "node/config.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <utility>

#include "node/units.h"
#include "node/weight_flags.h"

namespace switchyard {
namespace {

// Flags that hold units or choices arrive as text and become values in finish().
struct RawConfig {
  Config config;
  std::string model, random_weights;
  std::string tls_cert, tls_key, tls_client_ca, tokens_file;
  std::string reload_interval = format_duration(config.reload_interval);
  std::string kv_memory = std::to_string(config.kv_memory_bytes);
  std::string max_message = std::to_string(config.max_message_bytes);
  std::string max_queue_age = format_duration(config.max_queue_age);
  std::string drain_limit = format_duration(config.drain_limit);
  std::string stall_limit = format_duration(config.stall_limit);
  std::string ready_progress_limit = format_duration(config.ready_progress_limit);
  std::string progress_limit = format_duration(config.progress_limit);
  std::string connection_age = format_duration(config.max_connection_age);
  std::string connection_grace = format_duration(config.max_connection_grace);
  std::string reflection = "on", vllm_metrics = "on", orca = "on";
  std::string metrics_on_listen = "off";
  WeightFlags weights;
};

void declare_flags(CLI::App& app, RawConfig& raw) {
  Config& config = raw.config;
  const std::string model = "Model", network = "Network", capacity = "Capacity",
                    queue = "Queue and limits";
  app.set_config("--config", "", "TOML or INI file with any of these flags, without dashes");

  app.add_option("--model", raw.model, "Model folder")->group(model);
  app.add_option("--model-name", config.model_name, "Its name in requests (default: the folder's)")
      ->group(model);
  app.add_option("--backend", config.backend, "What computes: auto, or a built-in one such as cpu")
      ->group(model);
  app.add_option("--threads", config.threads, "CPU threads; 0: all this process may use")
      ->group(model);
  app.add_option("--random-weights", raw.random_weights,
                 "Make weights up from this seed instead of loading them; needs only config.json")
      ->group(model);
  app.add_option("--weights", raw.weights.weights, kWeightsHelp)->group(model);
  app.add_option("--head-weights", raw.weights.head, kHeadWeightsHelp)->group(model);
  app.add_option("--weight-scales", raw.weights.scales, kWeightScalesHelp)->group(model);

  app.add_option("--listen", config.listen, "gRPC, HOST:PORT; port 0 picks one")->group(network);
  app.add_option("--metrics", config.metrics, "Prometheus over HTTP, HOST:PORT")->group(network);
  app.add_option("--metrics-on-listen", raw.metrics_on_listen,
                 "GET /metrics on --listen too, without TLS only: on, off")
      ->group(network);
  app.add_option("--admin", config.admin, "Admin and health over gRPC, HOST:PORT")->group(network);
  app.add_option("--node-id", config.node_id, "Name of this node (default: the host's)")
      ->group(network);
  app.add_option("--reflection", raw.reflection, "gRPC server reflection: on, off")->group(network);
  app.add_option("--orca", raw.orca, "Load reports in the trailers of answers: on, off")
      ->group(network);
  app.add_option("--vllm-metrics", raw.vllm_metrics, "vLLM's metric names beside ours: on, off")
      ->group(network);
  app.add_option("--max-message-bytes", raw.max_message, "Largest message, such as 64MiB")
      ->group(network);
  app.add_option("--max-connection-age", raw.connection_age, "Then a client must connect again")
      ->group(network);
  app.add_option("--max-connection-grace", raw.connection_grace,
                 "What calls on an aged connection may still take")
      ->group(network);

  const std::string security = "TLS and tokens, of --listen alone";
  app.add_option("--tls-cert", raw.tls_cert, "PEM file: our certificate, then those that vouch")
      ->group(security);
  app.add_option("--tls-key", raw.tls_key, "PEM file: its key")->group(security);
  app.add_option("--tls-client-ca", raw.tls_client_ca,
                 "PEM file: callers must show a certificate that one of these signed")
      ->group(security);
  app.add_option("--tokens-file", raw.tokens_file,
                 "Callers must send a bearer token of this file; lines of TENANT TOKEN or "
                 "TENANT sha256:HEX")
      ->group(security);
  app.add_option("--reload-interval", raw.reload_interval,
                 "How often these files are looked at for changes")
      ->group(security);

  app.add_option("--max-batch-tokens", config.max_batch_tokens,
                 "Tokens of one step; 0: 8192, or 512 on a CPU")
      ->group(capacity);
  app.add_option("--max-batch-rows", config.max_batch_rows,
                 "Sequences that run at once; 0: 256, or 64 on a CPU")
      ->group(capacity);
  app.add_option("--max-context", config.max_context_tokens,
                 "Prompt and answer in tokens; 0: the model's")
      ->group(capacity);
  app.add_option("--kv-memory", raw.kv_memory, "Cache size, such as 4GiB; 0: chosen")
      ->group(capacity);
  app.add_option("--kv-block-tokens", config.kv_block_tokens, "Tokens of one cache block")
      ->group(capacity);

  app.add_option("--max-queue", config.max_queue, "Requests that may wait")->group(queue);
  app.add_option("--max-queue-tokens", config.max_queue_tokens, "Prompt tokens that may wait")
      ->group(queue);
  app.add_option("--max-queue-age", raw.max_queue_age, "No new request while one has waited longer")
      ->group(queue);
  app.add_option("--drain-limit", raw.drain_limit, "What SIGTERM leaves running answers")
      ->group(queue);
  app.add_option("--stall-limit", raw.stall_limit, "A reader that takes nothing is cut off then")
      ->group(queue);
  app.add_option("--ready-progress-limit", raw.ready_progress_limit,
                 "An engine with work and no progress for this long is not ready")
      ->group(queue);
  app.add_option("--progress-limit", raw.progress_limit,
                 "And for this long not alive: an orchestrator should start it again")
      ->group(queue);
  app.add_option("--log-level", config.log_level, "trace, debug, info, warn, error or off");
}

// The environment goes in front of the real arguments, so that the later ones win and the
// configuration file, which only fills what no argument set, comes last.
std::vector<std::string> with_environment(const CLI::App& app,
                                          std::span<const char* const> arguments,
                                          const Environment& environment) {
  std::vector<std::string> all;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_lnames().empty() || option->get_lnames().front() == "help") continue;
    const std::string& flag = option->get_lnames().front();
    std::string name = "SWITCHYARD_" + flag;
    for (char& c : name) {
      c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    }
    if (std::optional<std::string> value = environment(name)) {
      all.push_back("--" + flag + "=" + *value);
    }
  }
  all.insert(all.end(), arguments.begin(), arguments.end());
  return all;
}

Status read_switch(std::string_view flag, std::string_view text, bool& out) {
  if (text != "on" && text != "off") {
    return Status::invalid(flag, "\"", text, "\" is neither on nor off");
  }
  out = text == "on";
  return {};
}

Status read_duration(std::string_view flag, std::string_view text, Duration& out) {
  const Result<Duration> duration = parse_duration(flag, text);
  if (!duration.ok()) return duration.status();
  if (*duration == Duration::zero()) return Status::invalid(flag, "must be above 0");
  // So that sums with any time point and conversions to int milliseconds stay in range.
  if (*duration > std::chrono::hours(24 * 7)) return Status::invalid(flag, "is over a week");
  out = *duration;
  return {};
}

struct Range {
  std::string_view flag;
  int64_t value, low, high;
};

Status check_security(const Config& config) {
  if (config.tls_cert.empty() != config.tls_key.empty()) {
    return Status::invalid(config.tls_cert.empty() ? "--tls-cert" : "--tls-key",
                           "is missing: a certificate and its key are given together");
  }
  if (!config.tls_client_ca.empty() && config.tls_cert.empty()) {
    return Status::invalid("--tls-cert", "is missing: --tls-client-ca is of a listener with TLS");
  }
  if (config.metrics_on_listen && !config.tls_cert.empty()) {
    return Status::invalid("--metrics-on-listen",
                           "is on, but with --tls-cert nothing leaves --listen in the clear");
  }
  return {};
}

Status check_ranges(const Config& config) {
  const std::array ranges = {
      Range{"--threads", config.threads, 0, 4096},
      Range{"--max-batch-tokens", config.max_batch_tokens, 0, 1 << 20},
      Range{"--max-batch-rows", config.max_batch_rows, 0, 1 << 16},
      Range{"--max-context", config.max_context_tokens, 0, INT_MAX},
      Range{"--kv-memory", config.kv_memory_bytes, 0, INT64_MAX},
      Range{"--kv-block-tokens", config.kv_block_tokens, 1, 4096},
      Range{"--max-queue", config.max_queue, 1, 1 << 20},
      Range{"--max-queue-tokens", config.max_queue_tokens, 1, INT64_MAX},
      Range{"--max-message-bytes", config.max_message_bytes, 1 << 12, INT_MAX},
  };
  for (const Range& range : ranges) {
    if (range.value < range.low || range.value > range.high) {
      return Status::invalid(range.flag, range.value, " is not in [", range.low, ", ", range.high,
                             "]");
    }
  }
  constexpr std::array<std::string_view, 6> kLevels = {"trace", "debug", "info",
                                                       "warn",  "error", "off"};
  if (std::ranges::find(kLevels, config.log_level) == kLevels.end()) {
    return Status::invalid("--log-level", "\"", config.log_level, "\" is not a level");
  }
  return {};
}

Status check_address(std::string_view flag, std::string_view address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == address.size() ||
      address.substr(colon + 1).find_first_not_of("0123456789") != std::string_view::npos) {
    return Status::invalid(flag, "\"", address, "\" is not HOST:PORT");
  }
  return {};
}

std::string host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "node";
  return name.data();
}

Result<Config> finish(RawConfig raw) {
  Config& config = raw.config;
  if (raw.model.empty()) return Status::invalid("--model", "is required: a model folder");
  config.model = raw.model;
  if (config.model_name.empty()) {
    config.model_name = std::filesystem::absolute(config.model / "").parent_path().filename();
  }
  if (config.node_id.empty()) config.node_id = host_name();
  if (!raw.random_weights.empty()) {
    uint64_t seed = 0;
    const char* const end = raw.random_weights.data() + raw.random_weights.size();
    if (std::from_chars(raw.random_weights.data(), end, seed) !=
        std::from_chars_result{end, std::errc()}) {
      return Status::invalid("--random-weights", "\"", raw.random_weights, "\" is no seed");
    }
    config.random_weights_seed = seed;
  }

  const Result<WeightPlan> plan = read_weight_flags(raw.weights);
  if (!plan.ok()) return plan.status();
  config.weight_plan = *plan;

  const Result<int64_t> kv_memory = parse_bytes("--kv-memory", raw.kv_memory);
  if (!kv_memory.ok()) return kv_memory.status();
  config.kv_memory_bytes = *kv_memory;
  const Result<int64_t> max_message = parse_bytes("--max-message-bytes", raw.max_message);
  if (!max_message.ok()) return max_message.status();
  config.max_message_bytes = static_cast<int>(std::min<int64_t>(*max_message, INT_MAX));

  config.tls_cert = raw.tls_cert;
  config.tls_key = raw.tls_key;
  config.tls_client_ca = raw.tls_client_ca;
  config.tokens_file = raw.tokens_file;

  const std::array steps = {
      read_switch("--reflection", raw.reflection, config.reflection),
      read_switch("--orca", raw.orca, config.orca),
      read_switch("--vllm-metrics", raw.vllm_metrics, config.vllm_metrics),
      read_switch("--metrics-on-listen", raw.metrics_on_listen, config.metrics_on_listen),
      read_duration("--reload-interval", raw.reload_interval, config.reload_interval),
      read_duration("--max-queue-age", raw.max_queue_age, config.max_queue_age),
      read_duration("--drain-limit", raw.drain_limit, config.drain_limit),
      read_duration("--stall-limit", raw.stall_limit, config.stall_limit),
      read_duration("--ready-progress-limit", raw.ready_progress_limit,
                    config.ready_progress_limit),
      read_duration("--progress-limit", raw.progress_limit, config.progress_limit),
      read_duration("--max-connection-age", raw.connection_age, config.max_connection_age),
      read_duration("--max-connection-grace", raw.connection_grace, config.max_connection_grace),
      check_address("--listen", config.listen),
      check_address("--metrics", config.metrics),
      check_address("--admin", config.admin),
      check_ranges(config),
      check_security(config),
  };
  for (const Status& step : steps) {
    if (!step.ok()) return step;
  }
  if (config.ready_progress_limit > config.progress_limit) {
    return Status::invalid("--ready-progress-limit", format_duration(config.ready_progress_limit),
                           " is over --progress-limit, ", format_duration(config.progress_limit));
  }
  return std::move(raw.config);
}

}  // namespace

Result<std::variant<Config, HelpText>> read_config(std::span<const char* const> arguments,
                                                   const Environment& environment) {
  RawConfig raw;
  CLI::App app("Loads a model and answers requests over gRPC.", "switchyard-node serve");
  try {
    app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    app.option_defaults()->always_capture_default();
    app.allow_config_extras(CLI::config_extras_mode::error);
    declare_flags(app, raw);
    app.footer("Every flag is also an environment variable: --max-queue is SWITCHYARD_MAX_QUEUE.");
    std::vector<std::string> all = with_environment(app, arguments, environment);
    std::ranges::reverse(all);  // CLI11 takes a vector from its end
    app.parse(all);
  } catch (const CLI::CallForHelp&) {
    return std::variant<Config, HelpText>(HelpText{app.help()});
  } catch (const CLI::Error& error) {
    return Status(Code::kInvalidArgument, error.what());
  }
  Result<Config> config = finish(std::move(raw));
  if (!config.ok()) return config.status();
  return std::variant<Config, HelpText>(std::move(*config));
}

std::vector<std::pair<std::string, std::string>> describe(const Config& config) {
  return {
      {"model", config.model.string()},
      {"model-name", config.model_name},
      {"backend", config.backend},
      {"threads", std::to_string(config.threads)},
      {"random-weights",
       config.random_weights_seed ? std::to_string(*config.random_weights_seed) : "no"},
      {"weights", std::string(name_of(config.weight_plan.weights))},
      {"head-weights", std::string(name_of(config.weight_plan.head))},
      {"weight-scales", name_of(config.weight_plan.scales)},
      {"listen", config.listen},
      {"metrics", config.metrics},
      {"metrics-on-listen", config.metrics_on_listen ? "on" : "off"},
      {"admin", config.admin},
      {"node-id", config.node_id},
      {"tls-cert", config.tls_cert.string()},
      {"tls-key", config.tls_key.string()},
      {"tls-client-ca", config.tls_client_ca.string()},
      {"tokens-file", config.tokens_file.string()},
      {"reload-interval", format_duration(config.reload_interval)},
      {"orca", config.orca ? "on" : "off"},
      {"reflection", config.reflection ? "on" : "off"},
      {"vllm-metrics", config.vllm_metrics ? "on" : "off"},
      {"max-message-bytes", std::to_string(config.max_message_bytes)},
      {"max-connection-age", format_duration(config.max_connection_age)},
      {"max-connection-grace", format_duration(config.max_connection_grace)},
      {"max-batch-tokens", std::to_string(config.max_batch_tokens)},
      {"max-batch-rows", std::to_string(config.max_batch_rows)},
      {"max-context", std::to_string(config.max_context_tokens)},
      {"kv-memory", std::to_string(config.kv_memory_bytes)},
      {"kv-block-tokens", std::to_string(config.kv_block_tokens)},
      {"max-queue", std::to_string(config.max_queue)},
      {"max-queue-tokens", std::to_string(config.max_queue_tokens)},
      {"max-queue-age", format_duration(config.max_queue_age)},
      {"drain-limit", format_duration(config.drain_limit)},
      {"stall-limit", format_duration(config.stall_limit)},
      {"ready-progress-limit", format_duration(config.ready_progress_limit)},
      {"progress-limit", format_duration(config.progress_limit)},
      {"log-level", config.log_level},
  };
}

}  // namespace switchyard
