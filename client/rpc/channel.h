// Opens the channel to one node, with the settings that long streams need.
// Connecting happens on the first call; nothing here waits or fails.
#pragma once

#include <grpcpp/channel.h>

#include <chrono>
#include <memory>
#include <string>

namespace switchyard {

struct ChannelOptions {
  std::string target = "127.0.0.1:50051";  // host:port, or any name that gRPC resolves
  // A dead node is noticed within interval + timeout, even while it computes in silence. A node
  // accepts pings every 10 s and no faster.
  std::chrono::milliseconds keepalive_interval{30'000};
  std::chrono::milliseconds keepalive_timeout{20'000};
  int max_message_bytes = 64 << 20;  // each way; the node's own default
  // Channels to one address share a connection unless they say so.
  bool own_connection = false;
};

std::shared_ptr<grpc::Channel> open_channel(const ChannelOptions& options);

}  // namespace switchyard
