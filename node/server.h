// Server: the three listeners (gRPC, admin gRPC, metrics HTTP), the services on them, and the
// watchdog that tells health what state the node is in. Where asked, the gRPC port has the metrics
// page too. Knows no requests.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/result.h"
#include "node/metrics.h"

namespace grpc {
class Server;
class ServerBuilder;
class ServerCredentials;
class Service;
}  // namespace grpc
namespace prometheus {
class Exposer;
}

namespace switchyard {

class Credentials;
class HealthService;
class HttpPage;
class MetricsPage;
class Node;
class OrcaService;
class PortMux;

class Server {
 public:
  // Binds and answers, whatever state the node is in. unavailable names the address that could not
  // be had. `node` must outlive it.
  static Result<std::unique_ptr<Server>> start(Node& node);
  ~Server();  // stop(0)

  // HOST:PORT as bound.
  [[nodiscard]] const std::string& grpc_address() const { return public_.address; }
  [[nodiscard]] const std::string& admin_address() const { return admin_.address; }
  [[nodiscard]] const std::string& metrics_address() const { return metrics_address_; }

  // Health and the load report learn the node's state now instead of at the watchdog's next look.
  void refresh();

  // No new calls; ends health streams; calls still open after `grace` are cut. Once.
  void stop(std::chrono::milliseconds grace);

 private:
  struct Listener {
    std::string address;
    std::unique_ptr<HealthService> health;
    std::vector<std::unique_ptr<grpc::Service>> services;
    std::unique_ptr<grpc::Server> server;
  };

  explicit Server(Node& node);
  struct ListenAt {
    std::string flag;
    std::string address;
    std::shared_ptr<grpc::ServerCredentials> credentials;
  };
  Status listen(Listener& listener, const ListenAt& at);
  // The same, of a port that has the metrics page too.
  Status listen_with_metrics(Listener& listener, const ListenAt& at);
  void prepare(grpc::ServerBuilder& builder, Listener& listener);
  [[nodiscard]] std::shared_ptr<MetricsPage> make_page() const;
  Status expose_metrics();
  void watch();

  Node& node_;
  std::unique_ptr<Credentials> credentials_;  // outlives the listeners
  Listener public_, admin_;
  OrcaService* orca_ = nullptr;  // one of public_'s services
  std::shared_ptr<MetricsPage> page_;
  std::unique_ptr<prometheus::Exposer> exposer_;
  std::string metrics_address_;
  std::unique_ptr<HttpPage> page_on_listen_;
  std::unique_ptr<PortMux> mux_;  // hands over to public_ and page_on_listen_

  std::mutex mutex_;
  std::condition_variable stop_watching_;
  bool stopping_ = false;  // guarded by mutex_
  NodeState told_{};       // guarded by mutex_
  std::thread watchdog_;
};

}  // namespace switchyard
