#include "node/certificate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>

#include "tests/support/certificates.h"

namespace switchyard {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class CertificateTest : public testing::Test {
 protected:
  static std::string refusal(const CertificateFiles& files) {
    const auto facts = check(files);
    return facts.ok() ? "" : facts.status().message();
  }
  [[nodiscard]] CertificateFiles good(int hours = 1) const {
    const MadeCertificate made = authority_.sign("node.test", hours);
    return {.chain = made.certificate, .key = made.key, .client_authorities = {}};
  }
  const TestAuthority authority_{"authority"};
};

TEST_F(CertificateTest, ThatIsGoodTellsWhoseItIsAndHowLong) {
  const auto facts = check(good());
  ASSERT_TRUE(facts.ok()) << facts.status().message();
  EXPECT_EQ(facts->subject, "CN=node.test");
  EXPECT_NEAR(static_cast<double>(facts->not_after_seconds),
              static_cast<double>(std::time(nullptr) + 3600), 60);
}

TEST_F(CertificateTest, WithItsChainLastsAsLongAsTheFirstToExpire) {
  CertificateFiles files = good(1);
  files.chain += authority_.sign("between", -2).certificate;
  const auto facts = check(files);
  ASSERT_TRUE(facts.ok());
  EXPECT_LT(facts->not_after_seconds, std::time(nullptr));
}

TEST_F(CertificateTest, WithAnothersKeyIsRefused) {
  CertificateFiles files = good();
  files.key = good().key;
  EXPECT_THAT(refusal(files), StartsWith("--tls-key: is not the key"));
}

TEST_F(CertificateTest, IsRefusedByTheFlagWhoseFileIsWrong) {
  for (const std::string& rubbish :
       {std::string(), std::string("rubbish"),
        std::string("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")}) {
    CertificateFiles files = good();
    files.chain = rubbish;
    EXPECT_THAT(refusal(files), StartsWith("--tls-cert: holds no PEM certificate"));
    files = good();
    files.key = rubbish;
    EXPECT_THAT(refusal(files), StartsWith("--tls-key: holds no PEM private key"));
    files = good();
    files.client_authorities = rubbish;
    if (!rubbish.empty()) {
      EXPECT_THAT(refusal(files), StartsWith("--tls-client-ca: holds no PEM certificate"));
    }
  }
  CertificateFiles files = good();
  files.chain += "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n";
  EXPECT_THAT(refusal(files), HasSubstr("certificate 2 cannot be read"));
}

TEST_F(CertificateTest, NeverAsksForAPassword) {
  CertificateFiles files = good();
  files.key =
      "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
      "MIGjMF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBDVHRXe5dYoiOzMcNLq\n"
      "-----END ENCRYPTED PRIVATE KEY-----\n";
  EXPECT_THAT(refusal(files), StartsWith("--tls-key: "));
}

}  // namespace
}  // namespace switchyard
