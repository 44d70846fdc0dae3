#include "client/rpc/channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_interceptor.h>

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

namespace switchyard {
namespace {

using grpc::experimental::InterceptionHookPoints;

using Headers = std::vector<std::pair<std::string, std::string>>;

// For a token too: gRPC's own call credentials refuse a plaintext channel, also to this machine.
class HeaderInterceptor final : public grpc::experimental::Interceptor {
 public:
  explicit HeaderInterceptor(const Headers& headers) : headers_(headers) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      methods->GetSendInitialMetadata()->insert(headers_.begin(), headers_.end());
    }
    methods->Proceed();
  }

 private:
  const Headers& headers_;
};

class HeaderInterceptors final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit HeaderInterceptors(Headers headers) : headers_(std::move(headers)) {}

  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo* /*info*/) override {
    return new HeaderInterceptor(headers_);  // gRPC deletes it; the channel keeps us
  }

 private:
  const Headers headers_;
};

Headers headers_of(const ChannelOptions& options) {
  Headers headers = options.metadata;
  if (!options.token.empty()) headers.emplace_back("authorization", "Bearer " + options.token);
  return headers;
}

std::shared_ptr<grpc::ChannelCredentials> credentials_of(const std::optional<TlsOptions>& tls) {
  if (!tls) return grpc::InsecureChannelCredentials();
  return grpc::SslCredentials({.pem_root_certs = tls->authorities,
                               .pem_private_key = tls->key,
                               .pem_cert_chain = tls->certificate});
}

}  // namespace

std::shared_ptr<grpc::Channel> open_channel(const ChannelOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS,
                   static_cast<int>(options.keepalive_interval.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                   static_cast<int>(options.keepalive_timeout.count()));
  arguments.SetMaxReceiveMessageSize(options.max_message_bytes);
  arguments.SetMaxSendMessageSize(options.max_message_bytes);
  // client/rpc/retry.h is the only place that decides to ask again.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  if (options.own_connection) arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (options.tls && !options.tls->server_name.empty()) {
    arguments.SetSslTargetNameOverride(options.tls->server_name);
  }
  const auto credentials = credentials_of(options.tls);
  Headers headers = headers_of(options);
  if (headers.empty()) {
    return grpc::CreateCustomChannel(options.target, credentials, arguments);
  }
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(std::make_unique<HeaderInterceptors>(std::move(headers)));
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      options.target, credentials, arguments, std::move(interceptors));
}

bool is_loopback(const std::string& target) {
  std::string_view address = target;
  if (address.find(',') != std::string_view::npos) return false;  // a list, of whatever
  if (address.starts_with("unix:") || address.starts_with("unix-abstract:")) return true;
  for (const std::string_view scheme : {"dns:///", "dns:", "ipv4:", "ipv6:"}) {
    if (address.starts_with(scheme)) {
      address.remove_prefix(scheme.size());
      break;
    }
  }
  if (address == "[::1]" || address.starts_with("[::1]:")) return true;
  const std::string_view host = address.substr(0, address.find(':'));
  if (host == "localhost") return true;
  // Numbers alone: 127.example.com is anywhere.
  return host.starts_with("127.") &&
         host.find_first_not_of("0123456789.") == std::string_view::npos;
}

}  // namespace switchyard
