// Opens the channel to one node, with the settings that long streams need.
// Connecting happens on the first call; nothing here waits or fails.
#pragma once

#include <grpcpp/channel.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace switchyard {

// All PEM, not names of files.
struct TlsOptions {
  std::string authorities = {};  // who vouches for the node; empty: whom this system trusts
  std::string certificate = {};  // of this client, with its key; both empty: it shows none
  std::string key = {};
  std::string server_name = {};  // what the node's certificate must say; empty: the target's host
};

struct ChannelOptions {
  std::string target = "127.0.0.1:50051";  // host:port, or any name that gRPC resolves
  std::optional<TlsOptions> tls = {};      // unset: plaintext
  std::string token = {};                  // sent with every call of the channel; empty: none
  // Likewise: keys in lower case and values of ASCII, as HTTP/2 wants its headers.
  std::vector<std::pair<std::string, std::string>> metadata = {};
  // A dead node is noticed within interval + timeout, even while it computes in silence.
  std::chrono::milliseconds keepalive_interval{30'000};
  std::chrono::milliseconds keepalive_timeout{20'000};
  int max_message_bytes = 64 << 20;  // each way; the node's own default
  // Channels to one address share a connection unless they say so.
  bool own_connection = false;
};

// A token goes over plaintext as well as over TLS: is_loopback() tells where that is harmless.
std::shared_ptr<grpc::Channel> open_channel(const ChannelOptions& options);

// Whether a target is of this machine alone: localhost, 127.0.0.0/8, [::1] or a Unix socket.
bool is_loopback(const std::string& target);

}  // namespace switchyard
