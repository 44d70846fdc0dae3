// Any bytes as PEM files, one after another with zero bytes between: refused by the flag that they
// stand for, or a certificate with its key.
#include <algorithm>
#include <cstdint>
#include <string>

#include "node/certificate.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace switchyard;
  std::string text(reinterpret_cast<const char*>(data), size);
  const auto take = [&text] {
    const size_t cut = std::min(text.find('\0'), text.size());
    std::string part = text.substr(0, cut);
    text.erase(0, std::min(cut + 1, text.size()));
    return part;
  };
  const CertificateFiles files{.chain = take(), .key = take(), .client_authorities = take()};
  const Result<CertificateFacts> facts = check(files);
  if (!facts.ok()) CHECK(facts.status().field().starts_with("--tls-"));
  return 0;
}
