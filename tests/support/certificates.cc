#include "tests/support/certificates.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <atomic>

#include "kernels/base/check.h"

namespace switchyard {
namespace {

template <typename Write>
std::string pem_of(const Write& write) {
  BIO* bio = BIO_new(BIO_s_mem());
  CHECK(write(bio) == 1);
  char* data = nullptr;
  const long bytes = BIO_get_mem_data(bio, &data);
  std::string pem(data, static_cast<size_t>(bytes));
  BIO_free(bio);
  return pem;
}

std::string pem_of(X509* certificate) {
  return pem_of([certificate](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}

void add_extension(X509* certificate, int kind, const std::string& value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, kind, value.c_str());
  CHECK(extension != nullptr);
  CHECK(X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

// Unsigned, of `name`, with `key`.
X509* begin_certificate(const std::string& name, EVP_PKEY* key, int hours) {
  static std::atomic<long> serial{1};
  X509* certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
  constexpr long kHour = 3600;
  X509_gmtime_adj(X509_getm_notBefore(certificate), -48 * kHour);
  X509_gmtime_adj(X509_getm_notAfter(certificate), hours * kHour);
  X509_set_pubkey(certificate, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  return certificate;
}

}  // namespace

struct TestAuthority::Parts {
  EVP_PKEY* key = nullptr;
  X509* certificate = nullptr;
};

TestAuthority::TestAuthority(const std::string& name) : parts_(std::make_unique<Parts>()) {
  parts_->key = EVP_EC_gen("P-256");
  parts_->certificate = begin_certificate(name, parts_->key, 1);
  X509_set_issuer_name(parts_->certificate, X509_get_subject_name(parts_->certificate));
  add_extension(parts_->certificate, NID_basic_constraints, "critical,CA:TRUE");
  CHECK(X509_sign(parts_->certificate, parts_->key, EVP_sha256()) > 0);
}

TestAuthority::~TestAuthority() {
  X509_free(parts_->certificate);
  EVP_PKEY_free(parts_->key);
}

std::string TestAuthority::certificate() const { return pem_of(parts_->certificate); }

MadeCertificate TestAuthority::sign(const std::string& name, int hours) const {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = begin_certificate(name, key, hours);
  X509_set_issuer_name(certificate, X509_get_subject_name(parts_->certificate));
  add_extension(certificate, NID_subject_alt_name, "IP:127.0.0.1,IP:::1,DNS:" + name);
  CHECK(X509_sign(certificate, parts_->key, EVP_sha256()) > 0);
  MadeCertificate made{.certificate = pem_of(certificate), .key = pem_of([key](BIO* bio) {
                                                             return PEM_write_bio_PrivateKey(
                                                                 bio, key, nullptr, nullptr, 0,
                                                                 nullptr, nullptr);
                                                           })};
  X509_free(certificate);
  EVP_PKEY_free(key);
  return made;
}

}  // namespace switchyard
