#include "client/cli/flags.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <utility>

namespace switchyard {

namespace {

constexpr const char* kTokenVariable = "SWITCHYARD_TOKEN";
constexpr size_t kMostFileBytes = size_t{1} << 20;

std::string read_file(const std::string& flag, const std::string& path) {
  std::error_code error;
  std::ifstream file;
  if (!std::filesystem::is_directory(path, error)) file.open(path, std::ios::binary);
  if (!file.is_open()) throw CLI::ValidationError(flag, "cannot read " + path);
  std::string contents(kMostFileBytes + 1, '\0');
  file.read(contents.data(), static_cast<std::streamsize>(contents.size()));
  contents.resize(static_cast<size_t>(file.gcount()));
  if (contents.empty()) throw CLI::ValidationError(flag, path + " is empty");
  if (contents.size() > kMostFileBytes) throw CLI::ValidationError(flag, path + " is over 1 MiB");
  return contents;
}

// The only word of `text`: it goes into a header as it is.
std::string read_token(const std::string& source, const std::string& text) {
  constexpr const char* kBlanks = " \t\r\n";
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string::npos) throw CLI::ValidationError(source, "holds no token");
  const size_t end = text.find_last_not_of(kBlanks) + 1;
  std::string token = text.substr(begin, end - begin);
  const auto is_visible = [](char c) { return c > 0x20 && c < 0x7f; };
  if (!std::ranges::all_of(token, is_visible)) {
    throw CLI::ValidationError(source, "holds more than one word of ASCII");
  }
  return token;
}

// Whatever gRPC would not send, or not as it stands, is refused here: there it would be a crash.
std::pair<std::string, std::string> read_metadata(const std::string& text) {
  constexpr const char* kFlag = "--metadata";
  const size_t equals = text.find('=');
  const std::string key = text.substr(0, equals);
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyz0123456789-_.";
  if (equals == std::string::npos || key.empty() ||
      key.find_first_not_of(kAllowed) != std::string::npos) {
    throw CLI::ValidationError(kFlag, "needs KEY=VALUE, and a key of a to z, 0 to 9, -, _ and .");
  }
  if (key.starts_with("grpc-") || key.ends_with("-bin")) {
    throw CLI::ValidationError(kFlag, key + " is not a key for text: gRPC's own, or of bytes");
  }
  if (key == "authorization") throw CLI::ValidationError(kFlag, "--token-file is for tokens");
  const std::string value = text.substr(equals + 1);
  const auto is_printable = [](char c) { return c >= 0x20 && c < 0x7f; };
  if (!std::ranges::all_of(value, is_printable)) {
    throw CLI::ValidationError(kFlag, "the value of " + key + " is not printable ASCII");
  }
  return {key, value};
}

}  // namespace

void NodeFlags::add_to(CLI::App& command) {
  command.add_option("--node", channel.target, "Address of the node, host:port")
      ->envname("SWITCHYARD_NODE")
      ->capture_default_str();
  constexpr double kLongestSeconds = 86'400;
  command
      .add_option("--timeout", timeout_seconds,
                  "Give up on an answer after this many seconds (default: never)")
      ->check(CLI::Range(0.001, kLongestSeconds));
  command
      .add_option_function<std::vector<std::string>>(
          "--metadata",
          [this](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) channel.metadata.push_back(read_metadata(text));
          },
          "Sent with every call, such as a header that a gateway routes by; may be repeated")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  add_security_to(command);
}

void NodeFlags::add_security_to(CLI::App& command) {
  CLI::Option* tls = command.add_flag("--tls", tls_, "Speak TLS with the node");
  const auto pem = [&](const std::string& flag, std::string& out, const std::string& what) {
    return command
        .add_option_function<std::string>(
            flag, [flag, &out](const std::string& path) { out = read_file(flag, path); }, what)
        ->type_name("FILE")
        ->needs(tls);
  };
  pem("--tls-ca", tls_options_.authorities,
      "PEM file: who vouches for the node (default: whom this system trusts)");
  CLI::Option* certificate =
      pem("--tls-cert", tls_options_.certificate, "PEM file: this client's certificate");
  CLI::Option* key = pem("--tls-key", tls_options_.key, "PEM file: its key");
  certificate->needs(key);
  key->needs(certificate);
  command
      .add_option("--tls-server-name", tls_options_.server_name,
                  "What the node's certificate says it is (default: the host of --node)")
      ->needs(tls);
  command
      .add_option_function<std::string>(
          "--token-file",
          [this](const std::string& path) {
            channel.token = read_token("--token-file", read_file("--token-file", path));
          },
          "File with the token that every call carries (default: $SWITCHYARD_TOKEN)")
      ->type_name("FILE");
  command.add_flag("--send-token-in-the-clear", send_token_in_the_clear_,
                   "Also without --tls to another machine, where whoever listens can read it");
  command.parse_complete_callback([this] {
    if (channel.token.empty()) {
      const char* token = std::getenv(kTokenVariable);
      if (token != nullptr && *token != '\0') channel.token = read_token(kTokenVariable, token);
    }
    if (tls_) channel.tls = tls_options_;
    check_security();
  });
}

void NodeFlags::check_security() const {
  if (channel.token.empty() || channel.tls || send_token_in_the_clear_) return;
  const auto check = [](const std::string& flag, const std::string& target) {
    if (is_loopback(target)) return;
    throw CLI::ValidationError(flag, target +
                                         " is another machine, and without --tls whoever listens "
                                         "can read the token; --send-token-in-the-clear does it");
  };
  for (const std::string& target : targets) check("--targets", target);
  if (targets.empty()) check("--node", channel.target);
}

CallOptions NodeFlags::call_options() const {
  CallOptions options;
  if (timeout_seconds) {
    options.timeout = std::chrono::milliseconds(std::llround(*timeout_seconds * 1000));
  }
  return options;
}

void AnswerFlags::add_to(CLI::App& command) {
  // Ranges are the node's to check: it names the field and the limit, and it may be newer.
  command.add_option("--model", model, "Name of the model (default: the node's only one)");
  command.add_option("--temperature", temperature, "Divides the logits; 0 is greedy");
  command.add_option("--top-k", top_k, "Only the K most probable tokens; 0: all");
  command.add_option("--top-p", top_p, "Only the most probable tokens that make up this share");
  command.add_option("--min-p", min_p, "Drop tokens below this share of the most probable one");
  command.add_option("--repetition-penalty", repetition_penalty,
                     "Above 1: tokens of prompt and answer become less probable");
  command.add_option("--presence-penalty", presence_penalty,
                     "Subtracted from the logit of each token that the answer has");
  command.add_option("--frequency-penalty", frequency_penalty,
                     "Subtracted from a token's logit each time that the answer has it");
  command.add_option("--seed", seed, "The same seed and request give the same answer");
  command.add_option("--max-new-tokens", max_new_tokens,
                     "Most tokens of an answer (default: what the context leaves)");
  command.add_option("--stop", stop_strings, "End the answer before this text; may be repeated")
      ->allow_extra_args(false);
}

v1::SamplingParameters AnswerFlags::sampling() const {
  v1::SamplingParameters sampling;
  if (temperature) sampling.set_temperature(*temperature);
  if (top_k) sampling.set_top_k(*top_k);
  if (top_p) sampling.set_top_p(*top_p);
  if (min_p) sampling.set_min_p(*min_p);
  if (repetition_penalty) sampling.set_repetition_penalty(*repetition_penalty);
  if (presence_penalty) sampling.set_presence_penalty(*presence_penalty);
  if (frequency_penalty) sampling.set_frequency_penalty(*frequency_penalty);
  if (seed) sampling.set_seed(*seed);
  return sampling;
}

v1::StopCondition AnswerFlags::stop() const {
  v1::StopCondition stop;
  if (max_new_tokens) stop.set_max_new_tokens(*max_new_tokens);
  for (const std::string& text : stop_strings) stop.add_stop_strings(text);
  return stop;
}

}  // namespace switchyard
