#include "node/tokens.h"

#include <gtest/gtest.h>

#include "node/gate.h"

namespace switchyard {
namespace {

constexpr std::string_view kAnna = "anna-token-0123456789";
constexpr std::string_view kBert = "YmVydC10b2tlbi0wMTIz==";

std::string refusal(const std::string& file) {
  const Result<Tokens> tokens = Tokens::parse(file);
  return tokens.ok() ? "" : tokens.status().message();
}

TEST(Tokens, TellWhoseATokenIs) {
  const auto tokens = Tokens::parse("# who may call\n\nanna\t" + std::string(kAnna) +
                                    "\r\n  bert " + std::string(kBert));
  ASSERT_TRUE(tokens.ok()) << tokens.status().message();
  EXPECT_EQ(tokens->size(), 2u);
  EXPECT_EQ(tokens->tenant_of(kAnna), "anna");
  EXPECT_EQ(tokens->tenant_of(kBert), "bert");
  EXPECT_FALSE(tokens->tenant_of(""));
  EXPECT_FALSE(tokens->tenant_of(kAnna.substr(1)));
  EXPECT_FALSE(tokens->tenant_of("anna"));
}

TEST(Tokens, MayBeGivenAsDigestsInEitherCase) {
  // SHA-256 of "abc", of FIPS 180.
  const std::string digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  std::string upper = digest;
  for (char& c : upper) c = static_cast<char>(std::toupper(c));
  for (const std::string& hex : {digest, upper}) {
    const auto tokens = Tokens::parse("anna sha256:" + hex + "\n");
    ASSERT_TRUE(tokens.ok());
    EXPECT_EQ(tokens->tenant_of("abc"), "anna");
    EXPECT_FALSE(tokens->tenant_of("abd"));
    EXPECT_FALSE(tokens->tenant_of(digest));  // who has read the file has no token
  }
}

TEST(Tokens, MayBeSeveralOfOneTenantWhileTheyAreExchanged) {
  const auto tokens = Tokens::parse("anna old-token-0123456789\nanna new-token-0123456789\n");
  ASSERT_TRUE(tokens.ok());
  EXPECT_EQ(tokens->tenant_of("old-token-0123456789"), "anna");
  EXPECT_EQ(tokens->tenant_of("new-token-0123456789"), "anna");
}

TEST(Tokens, OfAWrongFileAreRefusedByLineAndNeverShown) {
  const std::string secret = "this-is-secret-0123456789";
  for (const std::string& file :
       {"ok " + std::string(kAnna) + "\n" + secret, "ok " + std::string(kAnna) + "\na b " + secret,
        "ok " + std::string(kAnna) + "\nt\xc3\xa9nant " + secret,
        "ok " + std::string(kAnna) + "\nanna short",
        "ok " + std::string(kAnna) + "\nanna " + secret + "\"",
        "ok " + std::string(kAnna) + "\nanna sha256:12",
        "ok " + std::string(kAnna) + "\nanna sha256:" + std::string(64, 'g'),
        "ok " + std::string(kAnna) + "\nother " + std::string(kAnna),
        "ok " + std::string(kAnna) + "\n" + std::string(65, 'a') + " " + secret}) {
    const std::string why = refusal(file);
    EXPECT_TRUE(why.starts_with("line 2: ")) << why;
    EXPECT_EQ(why.find(secret), std::string::npos);
    EXPECT_EQ(why.find(kAnna), std::string::npos);
  }
  EXPECT_EQ(refusal("# nobody\n"), "has no token");
  EXPECT_EQ(refusal(""), "has no token");
}

TEST(Tokens, AreBounded) {
  std::string file;
  for (size_t i = 0; i < Tokens::kMost; ++i)
    file += "t token-number-" + std::to_string(10000 + i) + "\n";
  EXPECT_TRUE(Tokens::parse(file).ok());
  file += "t one-token-too-many\n";
  EXPECT_EQ(refusal(file), "line 1001: is one token more than 1000");
}

TEST(BearerToken, IsTheOneWordAfterTheScheme) {
  EXPECT_EQ(bearer_token("Bearer abc"), "abc");
  EXPECT_EQ(bearer_token("bearer  abc "), "abc");
  for (const char* other :
       {"", "Bearer", "Bearer ", "abc", "Basic abc", "Bearer a b", "Bearerabc"}) {
    EXPECT_FALSE(bearer_token(other)) << other;
  }
}

std::string bearer(std::string_view token) { return "Bearer " + std::string(token); }

TEST(Gate, LetsAnybodyInWhereNoTokensAreAskedFor) {
  const Gate gate(Access::kOpen);
  EXPECT_EQ(*gate.admit(Rpc::kGenerate, std::nullopt), "");
  EXPECT_EQ(*gate.admit(Rpc::kGenerate, bearer(kAnna)), "");
}

TEST(Gate, LetsNobodyInBeforeItHasTokens) {
  const Gate gate(Access::kToken);
  EXPECT_EQ(gate.admit(Rpc::kGenerate, bearer(kAnna)).status().code(), Code::kPermissionDenied);
}

TEST(Gate, TellsMissingFromWrong) {
  Gate gate(Access::kToken);
  gate.publish(std::make_shared<const Tokens>(*Tokens::parse("anna " + std::string(kAnna))));
  EXPECT_EQ(*gate.admit(Rpc::kGenerate, bearer(kAnna)), "anna");
  EXPECT_EQ(gate.admit(Rpc::kGenerate, std::nullopt).status().code(), Code::kUnauthenticated);
  EXPECT_EQ(gate.admit(Rpc::kGenerate, "Basic abc").status().code(), Code::kUnauthenticated);
  const Status wrong = gate.admit(Rpc::kGenerate, bearer(kBert)).status();
  EXPECT_EQ(wrong.code(), Code::kPermissionDenied);
  EXPECT_EQ(wrong.message().find(kBert), std::string::npos);
  EXPECT_FALSE(wrong.retry_after());
}

TEST(Gate, AsksForATokenForEverythingButProbesLoadReportsAndTheAdminListener) {
  Gate gate(Access::kToken);
  for (size_t i = 0; i < kRpcs.size(); ++i) {
    const bool is_open = kRpcs[i].service == kHealthService || kRpcs[i].service == kOrcaService ||
                         kRpcs[i].service == kAdminService;
    EXPECT_EQ(gate.admit(static_cast<Rpc>(i), std::nullopt).ok(), is_open) << kRpcs[i].method;
  }
}

}  // namespace
}  // namespace switchyard
