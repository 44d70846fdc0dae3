// Flags that several subcommands share, and the request fields that they fill.
// A flag that is not given leaves its field unset: the node's default counts.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/rpc/call.h"
#include "client/rpc/channel.h"
#include "switchyard/v1/common.pb.h"

namespace switchyard {

struct NodeFlags {
  ChannelOptions channel;
  // Of a subcommand that asks several nodes: their addresses, instead of channel.target.
  std::vector<std::string> targets;
  std::optional<double> timeout_seconds;

  // Reads the files that flags name while the command line is parsed: what is wrong with them is
  // wrong with the command line. This must outlive the parsing where it is.
  void add_to(CLI::App& command);
  [[nodiscard]] CallOptions call_options() const;

 private:
  void add_security_to(CLI::App& command);
  void check_security() const;

  bool tls_ = false;
  TlsOptions tls_options_;
  bool send_token_in_the_clear_ = false;
};

struct AnswerFlags {
  std::string model;
  std::optional<float> temperature;
  std::optional<int32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<float> presence_penalty;
  std::optional<float> frequency_penalty;
  std::optional<uint64_t> seed;
  std::optional<int32_t> max_new_tokens;
  std::vector<std::string> stop_strings;

  void add_to(CLI::App& command);
  [[nodiscard]] v1::SamplingParameters sampling() const;
  [[nodiscard]] v1::StopCondition stop() const;
};

}  // namespace switchyard
