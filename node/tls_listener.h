// TlsListener: server credentials whose certificate can be exchanged while connections come in.
// Takes only what check() has accepted; reads no file.
#pragma once

#include <grpc/grpc_security.h>
#include <grpcpp/security/server_credentials.h>

#include <mutex>

#include "node/certificate.h"

namespace switchyard {

// For one listening port, whose server it must outlive. Any thread.
class TlsListener final : public grpc::ServerCredentials {
 public:
  // Whether callers must show a certificate is decided here, for good.
  explicit TlsListener(CertificateFiles files);
  ~TlsListener() override;

  // Connections from now on; those that are open stay as they are.
  void exchange(CertificateFiles files);

  // No caller of ours has one.
  void SetAuthMetadataProcessor(
      const std::shared_ptr<grpc::AuthMetadataProcessor>& processor) override;

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override;

  // gRPC asks with each connection; the answer is almost always "as before".
  static grpc_ssl_certificate_config_reload_status fetch(
      void* self, grpc_ssl_server_certificate_config** config);

  std::mutex mutex_;
  CertificateFiles files_;  // guarded by mutex_
  bool is_new_ = true;      // guarded by mutex_: gRPC has not had them
  grpc_server_credentials* const credentials_;
};

}  // namespace switchyard
