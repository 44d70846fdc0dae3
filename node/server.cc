#include "node/server.h"

#include <grpcpp/ext/channelz_service_plugin.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <prometheus/exposer.h>
#include <prometheus/text_serializer.h>

#include <exception>
#include <utility>

#include "kernels/make_backend.h"
#include "node/admin_service.h"
#include "node/chat_service.h"
#include "node/credentials.h"
#include "node/generation_service.h"
#include "node/health.h"
#include "node/http_page.h"
#include "node/metrics_page.h"
#include "node/model_service.h"
#include "node/node.h"
#include "node/orca_service.h"
#include "node/port_mux.h"
#include "node/telemetry_service.h"

namespace switchyard {
namespace {

constexpr auto kWatchInterval = std::chrono::milliseconds(50);
constexpr int kMaxConcurrentStreams = 4096;  // admission refuses long before, and says why
// Clients are told to ping each 10 s at most. One that pings ten times a second, as some do, is no
// reason to break its streams; one that pings faster still is. A busy host or network hands over
// some pings of a patient client in one go, and gRPC counts those until the server next sends data:
// its own limit of two would end an idle connection after three such moments.
constexpr int kMinClientPingMilliseconds = 50;
constexpr int kMaxEarlyClientPings = 100;
constexpr int kKeepaliveMilliseconds = 60'000;
constexpr int kKeepaliveTimeoutMilliseconds = 20'000;

// Which of the library's services this server gets. Linked, they put themselves into every one.
class LibraryServices final : public grpc::ServerBuilderOption {
 public:
  struct Wanted {
    bool reflection = false;
    bool channelz = false;
  };
  explicit LibraryServices(Wanted wanted) : wanted_(wanted) {}

  void UpdateArguments(grpc::ChannelArguments* /*arguments*/) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins, [this](const std::unique_ptr<grpc::ServerBuilderPlugin>& plugin) {
      if (plugin->name() == "channelz_service") return !wanted_.channelz;
      return dynamic_cast<const Reflection*>(plugin.get()) != nullptr;
    });
    if (wanted_.reflection) plugins->push_back(std::make_unique<Reflection>());
  }

 private:
  using Reflection = grpc::reflection::ProtoServerReflectionPlugin;
  const Wanted wanted_;
};

int milliseconds(Duration duration) {
  return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

void set_limits(grpc::ServerBuilder& builder, const Config& config) {
  builder.SetMaxReceiveMessageSize(config.max_message_bytes);
  builder.SetMaxSendMessageSize(config.max_message_bytes);
  // Two nodes on one port would share its connections by chance.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxConcurrentStreams);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinClientPingMilliseconds);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, kMaxEarlyClientPings);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 1);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMilliseconds);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMilliseconds);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS,
                             milliseconds(config.max_connection_age));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS,
                             milliseconds(config.max_connection_grace));
}

std::string with_port(const std::string& address, int port) {
  return address.substr(0, address.rfind(':') + 1) + std::to_string(port);
}

std::string built_backends() {
  std::string all;
  for (const std::string& name : backend_names()) all += (all.empty() ? "" : ",") + name;
  return all;
}

Status cannot_listen(const std::string& flag, const std::string& address) {
  return Status(Code::kUnavailable, flag, ": cannot listen on ", address,
                "; is the port in use, or the host not ours?");
}

}  // namespace

Result<std::unique_ptr<Server>> Server::start(Node& node) {
  grpc::channelz::experimental::InitChannelzService();  // of servers built from now on
  std::unique_ptr<Server> server(new Server(node));
  const NodeState state = node.state();
  server->told_ = state;

  Result<std::unique_ptr<Credentials>> credentials =
      Credentials::load(node.config(), {node.gate(), node.log(), node.metrics()});
  if (!credentials.ok()) return credentials.status();
  server->credentials_ = std::move(*credentials);

  Listener& open = server->public_;
  open.services.push_back(make_generation_service(node));
  open.services.push_back(make_chat_service(node));
  open.services.push_back(make_model_service(node));
  open.services.push_back(make_telemetry_service(node));
  std::vector<std::string_view> names = {kGenerationService, kChatService, kModelService,
                                         kTelemetryService};
  RpcTable& rpcs = node.metrics().rpcs;
  auto orca = std::make_unique<OrcaService>(node.load_reporter(), rpcs, node.clock());
  server->orca_ = orca.get();
  open.services.push_back(std::move(orca));
  names.push_back(kOrcaService);
  open.health = std::make_unique<HealthService>(rpcs, names, state);

  // Health is here too, so that probes need not go through the public listener: kubelet's cannot do
  // TLS.
  Listener& admin = server->admin_;
  admin.services.push_back(make_admin_service(node));
  names.push_back(kAdminService);
  admin.health = std::make_unique<HealthService>(rpcs, names, state);

  std::shared_ptr<grpc::ServerCredentials> plain = grpc::InsecureServerCredentials();
  std::shared_ptr<grpc::ServerCredentials> secure = server->credentials_->tls();
  server->page_ = server->make_page();
  const ListenAt at{"--listen", node.config().listen, secure != nullptr ? secure : plain};
  if (Status status = node.config().metrics_on_listen ? server->listen_with_metrics(open, at)
                                                      : server->listen(open, at);
      !status.ok()) {
    return status;
  }
  if (Status status = server->listen(admin, {"--admin", node.config().admin, plain});
      !status.ok()) {
    return status;
  }
  if (Status status = server->expose_metrics(); !status.ok()) return status;
  server->watchdog_ = std::thread([raw = server.get()] { raw->watch(); });
  return server;
}

void Server::prepare(grpc::ServerBuilder& builder, Listener& listener) {
  set_limits(builder, node_.config());
  builder.SetOption(std::make_unique<LibraryServices>(LibraryServices::Wanted{
      .reflection = node_.config().reflection, .channelz = &listener == &admin_}));
  for (const auto& service : listener.services) builder.RegisterService(service.get());
  builder.RegisterService(listener.health.get());
}

Status Server::listen(Listener& listener, const ListenAt& at) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(at.address, at.credentials, &port);
  prepare(builder, listener);
  listener.server = builder.BuildAndStart();
  if (listener.server == nullptr || port == 0) return cannot_listen(at.flag, at.address);
  listener.address = with_port(at.address, port);
  return {};
}

Status Server::listen_with_metrics(Listener& listener, const ListenAt& at) {
  using grpc::experimental::ExternalConnectionAcceptor;
  mux_ = PortMux::listen(at.address, std::chrono::milliseconds(kKeepaliveTimeoutMilliseconds),
                         node_.log());
  if (mux_ == nullptr) return cannot_listen(at.flag, at.address);
  grpc::ServerBuilder builder;
  std::shared_ptr<ExternalConnectionAcceptor> acceptor =
      builder.experimental().AddExternalConnectionAcceptor(
          grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, at.credentials);
  prepare(builder, listener);
  listener.server = builder.BuildAndStart();
  if (listener.server == nullptr) return cannot_listen(at.flag, at.address);
  listener.address = with_port(at.address, mux_->port());

  page_on_listen_ = std::make_unique<HttpPage>(
      HttpPage::Page{.path = "/metrics", .render = [page = page_] {
                       return prometheus::TextSerializer().Serialize(page->Collect());
                     }});
  mux_->start({.http1 = [this](int socket) { page_on_listen_->take(socket); },
               .other =
                   [acceptor](int socket) {
                     ExternalConnectionAcceptor::NewConnectionParameters connection;
                     connection.fd = socket;
                     acceptor->HandleNewConnection(&connection);
                   }});
  return {};
}

std::shared_ptr<MetricsPage> Server::make_page() const {
  const auto load = [&node = node_]() -> std::optional<EngineLoad> {
    const Serving* serving = node.serving();
    if (serving == nullptr) return std::nullopt;
    return serving->engine->load();
  };
  const auto in_flight = [&node = node_] {
    const Serving* serving = node.serving();
    return serving == nullptr ? 0 : serving->admission.in_flight();
  };
  const auto facts = [&node = node_]() -> std::optional<ServedFacts> {
    const Serving* serving = node.serving();
    if (serving == nullptr) return std::nullopt;
    const Engine& engine = *serving->engine;
    return ServedFacts{.architecture = engine.model_config().architecture,
                       .backend = std::string(serving->backend->name()),
                       .kv_block_tokens = engine.options().kv_block_tokens,
                       .max_context_tokens = engine.request_limits().context_tokens,
                       .kv_blocks = engine.load().kv_blocks_total,
                       .weight_bytes = engine.weight_bytes(),
                       .kv_type = std::string(name_of(engine.options().kv_type))};
  };
  return std::make_shared<MetricsPage>(
      node_.metrics(),
      MetricsPage::Sources{.model_name = node_.config().model_name,
                           .backends = built_backends(),
                           .vllm_names = node_.config().vllm_metrics,
                           .credentials = {.certificate = !node_.config().tls_cert.empty(),
                                           .tokens = !node_.config().tokens_file.empty()},
                           .state = [&node = node_] { return node.state(); },
                           .in_flight = in_flight,
                           .load = load,
                           .facts = facts});
}

Status Server::expose_metrics() {
  const std::string& address = node_.config().metrics;
  try {
    // Connections that say nothing hold one of few threads, and not for long.
    exposer_ = std::make_unique<prometheus::Exposer>(std::vector<std::string>{
        "listening_ports", address, "num_threads", "4", "request_timeout_ms", "1000"});
    exposer_->RegisterCollectable(page_);
    const std::vector<int> ports = exposer_->GetListeningPorts();
    if (ports.empty()) return cannot_listen("--metrics", address);
    metrics_address_ = with_port(address, ports.front());
  } catch (const std::exception&) {  // civetweb's way to say that it could not bind
    return cannot_listen("--metrics", address);
  }
  return {};
}

Server::Server(Node& node) : node_(node) {}

Server::~Server() { stop(std::chrono::milliseconds(0)); }

void Server::refresh() {
  const NodeState state = node_.state();
  std::lock_guard lock(mutex_);
  node_.refresh_load_report();
  if (state == told_) return;
  told_ = state;
  node_.log().info("state", {{"now", kNodeStateNames[static_cast<size_t>(state)]}});
  public_.health->set(state);
  admin_.health->set(state);
}

void Server::watch() {
  while (true) {
    refresh();
    orca_->tick();
    std::unique_lock lock(mutex_);
    if (stop_watching_.wait_for(lock, kWatchInterval, [this] { return stopping_; })) return;
  }
}

void Server::stop(std::chrono::milliseconds grace) {
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(stopping_, true)) return;
  }
  stop_watching_.notify_all();
  if (watchdog_.joinable()) watchdog_.join();
  for (Listener* listener : {&public_, &admin_}) {
    if (listener->health != nullptr) listener->health->end_watches();
  }
  if (orca_ != nullptr) orca_->end_streams();
  // Whoever has connected gets there before gRPC, which drops what comes after its end.
  if (mux_ != nullptr) mux_->stop();
  const auto deadline = std::chrono::system_clock::now() + grace;
  for (Listener* listener : {&public_, &admin_}) {
    if (listener->server != nullptr) listener->server->Shutdown(deadline);
  }
  page_on_listen_.reset();
  exposer_.reset();
}

}  // namespace switchyard
