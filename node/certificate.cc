#include "node/certificate.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <ctime>
#include <limits>
#include <memory>
#include <vector>

namespace switchyard {
namespace {

template <auto free>
struct Freed {
  template <typename T>
  void operator()(T* object) const {
    free(object);
  }
};
using Bio = std::unique_ptr<BIO, Freed<BIO_free>>;
using X509Ptr = std::unique_ptr<X509, Freed<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;

Bio open(const std::string& pem) {
  return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

// Never asks the terminal for a password.
int no_password(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*user*/) { return 0; }

// OpenSSL's last reason, if it has one. Clears its queue, which is the thread's.
std::string reason() {
  const unsigned long code = ERR_peek_last_error();
  const char* text = code == 0 ? nullptr : ERR_reason_error_string(code);
  std::string out = text == nullptr ? "" : std::string(" (") + text + ")";
  ERR_clear_error();
  return out;
}

// Every certificate of `pem`, at least one.
Result<std::vector<X509Ptr>> read_certificates(std::string_view flag, const std::string& pem) {
  const Bio bio = open(pem);
  std::vector<X509Ptr> certificates;
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, no_password, nullptr)) {
    certificates.emplace_back(certificate);
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (certificates.empty()) return Status::invalid(flag, "holds no PEM certificate", reason());
  if (!at_end) {
    return Status::invalid(flag, "certificate ", certificates.size() + 1, " cannot be read",
                           reason());
  }
  ERR_clear_error();
  return certificates;
}

int64_t not_after(const X509& certificate) {
  std::tm time{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(&certificate), &time) != 1) {
    ERR_clear_error();
    return 0;
  }
  return timegm(&time);
}

std::string subject(const X509& certificate) {
  const Bio bio(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(bio.get(), X509_get_subject_name(&certificate), 0, XN_FLAG_RFC2253);
  char* text = nullptr;
  const long bytes = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<size_t>(std::max(bytes, 0L))};
}

}  // namespace

Result<CertificateFacts> check(const CertificateFiles& files) {
  ERR_clear_error();
  const Result<std::vector<X509Ptr>> chain = read_certificates("--tls-cert", files.chain);
  if (!chain.ok()) return chain.status();
  const Key key(PEM_read_bio_PrivateKey(open(files.key).get(), nullptr, no_password, nullptr));
  if (key == nullptr) {
    return Status::invalid("--tls-key", "holds no PEM private key that needs no password",
                           reason());
  }
  if (X509_check_private_key(chain->front().get(), key.get()) != 1) {
    ERR_clear_error();
    return Status::invalid("--tls-key", "is not the key of the first certificate of --tls-cert");
  }
  if (!files.client_authorities.empty()) {
    const auto authorities = read_certificates("--tls-client-ca", files.client_authorities);
    if (!authorities.ok()) return authorities.status();
  }
  CertificateFacts facts{.subject = subject(*chain->front()),
                         .not_after_seconds = std::numeric_limits<int64_t>::max()};
  for (const X509Ptr& certificate : *chain) {
    facts.not_after_seconds = std::min(facts.not_after_seconds, not_after(*certificate));
  }
  return facts;
}

}  // namespace switchyard
