// A node with TLS, client certificates and tokens, asked through its sockets; and their files when
// they change while it serves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "client/rpc/channel.h"
#include "node/tls_listener.h"
#include "tests/node/test_node.h"
#include "tests/support/certificates.h"

namespace switchyard {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

constexpr const char* kToken = "anna-token-0123456789";
constexpr const char* kOther = "bert-token-0123456789";

class SecurityTest : public testing::Test {
 protected:
  SecurityTest() {
    folder_ = std::filesystem::path(testing::TempDir()) /
              ("security-" + std::to_string(getpid()) + "-" +
               testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
    write("ca", clients_.certificate());
    write("tokens", std::string("anna ") + kToken + "\n");
    put(authority_.sign("node.test"));
  }
  ~SecurityTest() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, const std::string& contents) const {
    // As a secret is exchanged in a pod: at once.
    const std::filesystem::path next = folder_ / (name + ".next");
    std::ofstream(next) << contents;
    std::filesystem::rename(next, folder_ / name);
  }
  void put(const MadeCertificate& made) const {
    write("cert", made.certificate);
    write("key", made.key);
  }
  const char* path(const std::string& name) {
    return paths_.emplace_back(std::make_unique<std::string>((folder_ / name).string()))->c_str();
  }
  std::vector<const char*> tls() {
    return {"--tls-cert", path("cert"), "--tls-key", path("key"), "--reload-interval", "20ms"};
  }
  std::vector<const char*> mutual_tls() {
    std::vector<const char*> flags = tls();
    flags.insert(flags.end(), {"--tls-client-ca", path("ca")});
    return flags;
  }
  std::vector<const char*> tokens() {
    return {"--tokens-file", path("tokens"), "--reload-interval", "20ms"};
  }

  // Whoever trusts our authority.
  [[nodiscard]] TlsOptions trusting() const {
    return {
        .authorities = authority_.certificate(), .certificate = {}, .key = {}, .server_name = {}};
  }
  // What one call on a connection of its own ends with.
  static grpc::Status ask(TestNode& node, std::optional<TlsOptions> tls, const std::string& token) {
    const auto channel = open_channel(
        {.target = node.server().grpc_address(), .tls = std::move(tls), .token = token});
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    v1::ListModelsResponse models;
    return v1::ModelService::NewStub(channel)->ListModels(&context, {}, &models);
  }
  static uint64_t reloads(TestNode& node, ReloadedFile file, Reload outcome) {
    return node.node().metrics().reloads[size_t(file)][size_t(outcome)];
  }
  // What it says when it does not start.
  static std::string refusal(std::vector<const char*> flags) {
    flags.insert(flags.end(), {"--model", "m", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
                               "--metrics", "127.0.0.1:0"});
    const auto config = read_config(flags, [](const std::string&) { return std::nullopt; });
    if (!config.ok()) return config.status().message();
    Log log("off");
    const SteadyClock clock;
    Node node(std::get<Config>(*config), clock, log);
    const auto server = Server::start(node);
    return server.ok() ? "" : server.status().message();
  }

  const TestAuthority authority_{"authority"}, clients_{"authority of clients"},
      stranger_{"stranger"};
  std::filesystem::path folder_;
  std::vector<std::unique_ptr<std::string>> paths_;
};

TEST_F(SecurityTest, TlsAnswersWhoTrustsItsAuthorityAndNobodyElse) {
  TestNode node(tls());
  EXPECT_TRUE(ask(node, trusting(), "").ok());
  TlsOptions by_name = trusting();
  by_name.server_name = "node.test";
  EXPECT_TRUE(ask(node, by_name, "").ok());
  by_name.server_name = "other.test";
  EXPECT_EQ(ask(node, by_name, "").error_code(), StatusCode::UNAVAILABLE);
  TlsOptions mistrusting = trusting();
  mistrusting.authorities = stranger_.certificate();
  EXPECT_EQ(ask(node, mistrusting, "").error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(ask(node, std::nullopt, "").error_code(), StatusCode::UNAVAILABLE);
  grpc::ClientContext context;  // the admin listener stays plaintext, for probes
  v1::ListInFlightResponse in_flight;
  EXPECT_TRUE(node.admin->ListInFlight(&context, {}, &in_flight).ok());
}

TEST_F(SecurityTest, MutualTlsAsksForACertificateOfItsClients) {
  TestNode node(mutual_tls());
  EXPECT_EQ(ask(node, trusting(), "").error_code(), StatusCode::UNAVAILABLE);
  const auto with = [this](const MadeCertificate& made) {
    TlsOptions options = trusting();
    options.certificate = made.certificate;
    options.key = made.key;
    return options;
  };
  EXPECT_TRUE(ask(node, with(clients_.sign("client")), "").ok());
  EXPECT_EQ(ask(node, with(authority_.sign("client")), "").error_code(), StatusCode::UNAVAILABLE);
  // Another authority from now on.
  write("ca", stranger_.certificate());
  EXPECT_TRUE(
      TestNode::eventually([&] { return ask(node, with(stranger_.sign("client")), "").ok(); }));
  EXPECT_EQ(ask(node, with(clients_.sign("client")), "").error_code(), StatusCode::UNAVAILABLE);
}

TEST_F(SecurityTest, ANewCertificateIsForNewConnectionsAndBreaksNone) {
  TestNode node(tls());
  const auto channel = open_channel({.target = node.server().grpc_address(), .tls = trusting()});
  const auto stub = v1::GenerationService::NewStub(channel);
  grpc::ClientContext context;
  const auto stream = stub->GenerateStream(&context, greedy("hello", 1500));
  v1::GenerateStreamResponse event;
  ASSERT_TRUE(stream->Read(&event));

  put(stranger_.sign("node.test"));
  TlsOptions of_the_new = trusting();
  of_the_new.authorities = stranger_.certificate();
  EXPECT_TRUE(TestNode::eventually([&] { return ask(node, of_the_new, "").ok(); }));
  EXPECT_EQ(ask(node, trusting(), "").error_code(), StatusCode::UNAVAILABLE);
  EXPECT_GE(reloads(node, ReloadedFile::kCertificate, Reload::kDone), 1u);

  int tokens = 0;
  while (stream->Read(&event)) tokens += event.has_delta() ? event.delta().token_count() : 0;
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_GT(tokens, 1000);
}

TEST_F(SecurityTest, ABrokenReplacementLeavesWhatWasGood) {
  TestNode node(tls());
  uint64_t failures = 0;
  const MadeCertificate another = authority_.sign("node.test");
  const std::vector<std::pair<std::string, std::string>> breakages = {
      {"cert", "rubbish"}, {"cert", ""}, {"cert", another.certificate}, {"key", "rubbish"}};
  for (const auto& [name, contents] : breakages) {
    write(name, contents);
    ++failures;
    EXPECT_TRUE(TestNode::eventually(
        [&] { return reloads(node, ReloadedFile::kCertificate, Reload::kFailed) >= failures; }));
    EXPECT_TRUE(ask(node, trusting(), "").ok()) << name;
  }
  std::filesystem::remove(folder_ / "key");
  EXPECT_TRUE(TestNode::eventually(
      [&] { return reloads(node, ReloadedFile::kCertificate, Reload::kFailed) >= failures + 1; }));
  EXPECT_TRUE(ask(node, trusting(), "").ok());
  // Said once, and not again at each look.
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_EQ(reloads(node, ReloadedFile::kCertificate, Reload::kFailed), failures + 1);
  EXPECT_EQ(reloads(node, ReloadedFile::kCertificate, Reload::kDone), 0u);
  put(another);
  EXPECT_TRUE(TestNode::eventually(
      [&] { return reloads(node, ReloadedFile::kCertificate, Reload::kDone) > 0; }));
  EXPECT_TRUE(ask(node, trusting(), "").ok());
}

TEST_F(SecurityTest, TokensAreAskedForWithAndWithoutTls) {
  std::vector<const char*> both = tls();
  for (const char* flag : tokens()) both.push_back(flag);
  TestNode secure(both), plain(tokens());
  for (auto& [node, options] :
       {std::pair<TestNode*, std::optional<TlsOptions>>{&secure, trusting()},
        {&plain, std::nullopt}}) {
    EXPECT_EQ(ask(*node, options, "").error_code(), StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(ask(*node, options, kOther).error_code(), StatusCode::PERMISSION_DENIED);
    EXPECT_TRUE(ask(*node, options, kToken).ok());
  }
}

TEST_F(SecurityTest, EveryCallOfAChannelCarriesTheTokenAndTheTenantIsListed) {
  TestNode node(tokens());
  const auto stub = v1::GenerationService::NewStub(
      open_channel({.target = node.server().grpc_address(), .token = kToken}));
  grpc::ClientContext context, other, third;
  const auto stream = stub->GenerateStream(&context, endless());
  v1::GenerateStreamResponse event;
  ASSERT_TRUE(stream->Read(&event));
  v1::GenerateResponse whole;
  EXPECT_TRUE(stub->Generate(&other, greedy("x", 2), &whole).ok());
  v1::ListInFlightResponse in_flight;
  ASSERT_TRUE(node.admin->ListInFlight(&third, {}, &in_flight).ok());
  ASSERT_EQ(in_flight.requests_size(), 1);
  EXPECT_EQ(in_flight.requests(0).tenant(), "anna");
  context.TryCancel();
  while (stream->Read(&event)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::CANCELLED);
  EXPECT_TRUE(node.becomes_idle());
}

TEST_F(SecurityTest, ARefusedCallCostsNothingAndIsCounted) {
  TestNode node(tokens());
  EXPECT_EQ(generate(node, greedy("x", 2)).error_code(), StatusCode::UNAUTHENTICATED);
  Stream stream(node, endless());
  EXPECT_EQ(stream.read_to_end().error_code(), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(node.engine().load().steps, 0);
  const RpcTable& rpcs = node.node().metrics().rpcs;
  for (const Rpc rpc : {Rpc::kGenerate, Rpc::kGenerateStream}) {
    const RpcCounts& counts = rpcs[static_cast<size_t>(rpc)];
    EXPECT_EQ(counts.started, 1u);
    EXPECT_EQ(counts.handled[StatusCode::UNAUTHENTICATED], 1u);
    EXPECT_TRUE(TestNode::eventually([&] { return counts.open == 0; }));
  }
}

TEST_F(SecurityTest, ProbesNeedNoToken) {
  TestNode node(tokens());
  grpc::ClientContext context;
  grpc::health::v1::HealthCheckResponse response;
  EXPECT_TRUE(node.health->Check(&context, {}, &response).ok());
  EXPECT_EQ(response.status(), grpc::health::v1::HealthCheckResponse::SERVING);
}

TEST_F(SecurityTest, NewTokensCountAndABrokenFileDoesNot) {
  TestNode node(tokens());
  write("tokens", std::string("bert ") + kOther + "\n");
  EXPECT_TRUE(TestNode::eventually([&] { return ask(node, std::nullopt, kOther).ok(); }));
  EXPECT_EQ(ask(node, std::nullopt, kToken).error_code(), StatusCode::PERMISSION_DENIED);
  write("tokens", "# nobody\n");
  EXPECT_TRUE(TestNode::eventually(
      [&] { return reloads(node, ReloadedFile::kTokens, Reload::kFailed) == 1; }));
  EXPECT_TRUE(ask(node, std::nullopt, kOther).ok());
}

TEST_F(SecurityTest, FilesThatAreWrongEndTheStartAndAreNamed) {
  std::vector<const char*> flags = tls();
  write("key", authority_.sign("another").key);
  EXPECT_THAT(refusal(tls()), HasSubstr("--tls-key: is not the key"));
  std::filesystem::remove(folder_ / "key");
  EXPECT_THAT(refusal(tls()),
              HasSubstr("--tls-key: cannot open " + (folder_ / "key").string() + ": No such file"));
  EXPECT_THAT(refusal({"--tls-cert", folder_.c_str(), "--tls-key", path("key")}),
              HasSubstr("is a folder"));
  EXPECT_THAT(refusal({"--tls-cert", path("cert")}), HasSubstr("--tls-key: is missing"));
  EXPECT_THAT(refusal({"--tls-key", path("key")}), HasSubstr("--tls-cert: is missing"));
  EXPECT_THAT(refusal({"--tls-client-ca", path("ca")}), HasSubstr("--tls-cert: is missing"));
  write("tokens", "anna");
  EXPECT_THAT(refusal(tokens()), HasSubstr("--tokens-file: line 1: "));
  write("tokens", std::string(2 << 20, '#'));
  EXPECT_THAT(refusal(tokens()), HasSubstr("has more than 1048576 bytes"));
}

}  // namespace
}  // namespace switchyard
