#include "node/tls_listener.h"

#include <utility>

#include "kernels/base/check.h"

namespace switchyard {

TlsListener::TlsListener(CertificateFiles files)
    : files_(std::move(files)),
      credentials_(grpc_ssl_server_credentials_create_with_options(
          grpc_ssl_server_credentials_create_options_using_config_fetcher(
              files_.client_authorities.empty()
                  ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                  : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY,
              &TlsListener::fetch,
              this))) {
  CHECK(credentials_ != nullptr);
}

TlsListener::~TlsListener() { grpc_server_credentials_release(credentials_); }

void TlsListener::exchange(CertificateFiles files) {
  std::lock_guard lock(mutex_);
  CHECK(files.client_authorities.empty() == files_.client_authorities.empty());
  files_ = std::move(files);
  is_new_ = true;
}

void TlsListener::SetAuthMetadataProcessor(
    const std::shared_ptr<grpc::AuthMetadataProcessor>& /*processor*/) {
  CHECK(false);
}

int TlsListener::AddPortToServer(const std::string& address, grpc_server* server) {
  return grpc_server_add_http2_port(server, address.c_str(), credentials_);
}

grpc_ssl_certificate_config_reload_status TlsListener::fetch(
    void* self, grpc_ssl_server_certificate_config** config) {
  auto& listener = *static_cast<TlsListener*>(self);
  std::lock_guard lock(listener.mutex_);
  if (!std::exchange(listener.is_new_, false)) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
  const CertificateFiles& files = listener.files_;
  const grpc_ssl_pem_key_cert_pair pair = {files.key.c_str(), files.chain.c_str()};
  // gRPC 1.51 insists on authorities even where it never asks a caller for a certificate.
  const std::string& authorities =
      files.client_authorities.empty() ? files.chain : files.client_authorities;
  *config = grpc_ssl_server_certificate_config_create(authorities.c_str(), &pair, 1);
  return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
}

}  // namespace switchyard
