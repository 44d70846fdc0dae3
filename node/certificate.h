// Certificate: what a listener shows and asks for in TLS, checked before anybody uses it.
// Reads no file and knows no gRPC.
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/result.h"

namespace switchyard {

// PEM. Without `client_authorities` callers need no certificate of their own.
struct CertificateFiles {
  std::string chain;  // the leaf first
  std::string key;
  std::string client_authorities;

  bool operator==(const CertificateFiles&) const = default;
};

struct CertificateFacts {
  std::string subject;            // of the leaf
  int64_t not_after_seconds = 0;  // Unix time; of the chain's first to expire
};

// invalid_argument: names the flag whose file holds no certificate, or a key that is encrypted or
// another certificate's. An expired certificate is no mistake of the file's.
Result<CertificateFacts> check(const CertificateFiles& files);

}  // namespace switchyard
