// What the flags of every subcommand make of a command line: TLS, tokens, and where they may go.
#include "client/cli/flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "client/load/environment.h"

namespace switchyard {
namespace {

using testing::HasSubstr;

class NodeFlagsTest : public testing::Test {
 protected:
  NodeFlagsTest() {
    unsetenv("SWITCHYARD_TOKEN");
    unsetenv("SWITCHYARD_NODE");
  }
  ~NodeFlagsTest() override {
    unsetenv("SWITCHYARD_TOKEN");
    for (const std::string& path : files_) std::filesystem::remove(path);
  }
  std::string file(const std::string& name, const std::string& contents) {
    files_.push_back(testing::TempDir() + "flags-" + std::to_string(getpid()) + "-" + name);
    std::ofstream(files_.back()) << contents;
    return files_.back();
  }
  // Of `switchyard ask FLAGS`: empty, or what is wrong with it.
  std::string parse(std::vector<std::string> arguments, std::vector<std::string> targets = {}) {
    CLI::App app("test", "switchyard");
    CLI::App* ask = app.add_subcommand("ask");
    flags_ = {};
    flags_.targets = std::move(targets);
    flags_.add_to(*ask);
    arguments.insert(arguments.begin(), "ask");
    std::ranges::reverse(arguments);
    try {
      app.parse(arguments);
    } catch (const CLI::ParseError& error) {
      return error.what();
    }
    return "";
  }
  [[nodiscard]] const ChannelOptions& channel() const { return flags_.channel; }

 private:
  NodeFlags flags_;
  std::vector<std::string> files_;
};

TEST_F(NodeFlagsTest, AloneMeanPlaintextWithoutAToken) {
  EXPECT_EQ(parse({"--node", "far.example:1"}), "");
  EXPECT_FALSE(channel().tls);
  EXPECT_EQ(channel().token, "");
}

TEST_F(NodeFlagsTest, ReadTheFilesOfTls) {
  EXPECT_EQ(parse({"--tls"}), "");
  ASSERT_TRUE(channel().tls);
  EXPECT_EQ(channel().tls->authorities, "");
  EXPECT_EQ(parse({"--tls", "--tls-ca", file("ca", "CA"), "--tls-cert", file("cert", "CERT"),
                   "--tls-key", file("key", "KEY"), "--tls-server-name", "node.test"}),
            "");
  EXPECT_EQ(channel().tls->authorities, "CA");
  EXPECT_EQ(channel().tls->certificate, "CERT");
  EXPECT_EQ(channel().tls->key, "KEY");
  EXPECT_EQ(channel().tls->server_name, "node.test");
}

TEST_F(NodeFlagsTest, OfTlsNeedEachOther) {
  EXPECT_THAT(parse({"--tls-ca", file("ca", "CA")}), HasSubstr("--tls"));
  EXPECT_THAT(parse({"--tls", "--tls-cert", file("cert", "CERT")}), HasSubstr("--tls-key"));
  EXPECT_THAT(parse({"--tls", "--tls-key", file("key", "KEY")}), HasSubstr("--tls-cert"));
  EXPECT_THAT(parse({"--tls-server-name", "x"}), HasSubstr("--tls"));
}

TEST_F(NodeFlagsTest, TakeATokenFromAFileBeforeTheEnvironment) {
  setenv("SWITCHYARD_TOKEN", " of-the-environment\n", 1);
  EXPECT_EQ(parse({}), "");
  EXPECT_EQ(channel().token, "of-the-environment");
  EXPECT_EQ(parse({"--token-file", file("token", "of-the-file\n")}), "");
  EXPECT_EQ(channel().token, "of-the-file");
}

TEST_F(NodeFlagsTest, RefuseWhatIsNoTokenWithoutShowingIt) {
  for (const char* wrong : {"two words", "l\xc3\xa4uft", "a\nb"}) {
    const std::string why = parse({"--token-file", file("token", wrong)});
    EXPECT_THAT(why, HasSubstr("more than one word"));
    EXPECT_EQ(why.find(wrong), std::string::npos);
  }
  EXPECT_THAT(parse({"--token-file", file("token", " \n")}), HasSubstr("holds no token"));
  EXPECT_THAT(parse({"--token-file", file("token", "")}), HasSubstr("is empty"));
  EXPECT_THAT(parse({"--token-file", "/nowhere/token"}), HasSubstr("cannot read /nowhere/token"));
}

TEST_F(NodeFlagsTest, TakeMetadataThatGrpcCanSend) {
  EXPECT_EQ(parse({"--metadata", "x-tenant=a=b c", "--metadata", "x.y_z="}), "");
  EXPECT_EQ(channel().metadata, (std::vector<std::pair<std::string, std::string>>{
                                    {"x-tenant", "a=b c"}, {"x.y_z", ""}}));
  for (const char* wrong : {"key", "=value", "Key=value", ":path=/", "a b=c"}) {
    EXPECT_THAT(parse({"--metadata", wrong}), HasSubstr("needs KEY=VALUE")) << wrong;
  }
  EXPECT_THAT(parse({"--metadata", "grpc-timeout=1S"}), HasSubstr("is not a key for text"));
  EXPECT_THAT(parse({"--metadata", "trace-bin=x"}), HasSubstr("is not a key for text"));
  EXPECT_THAT(parse({"--metadata", "authorization=Bearer x"}), HasSubstr("--token-file"));
  EXPECT_THAT(parse({"--metadata", "x-tenant=l\xc3\xa4uft"}), HasSubstr("not printable ASCII"));
}

TEST(Environment, KeepsValuesOfMetadataToItself) {
  const char* const line[] = {
      "switchyard", "load", "--metadata", "x-key=secret word", "--metadata=x-other=secret",
      "--rate",     "3"};
  EXPECT_EQ(this_environment(7, line).command_line,
            "switchyard load --metadata x-key=... --metadata=x-other=... --rate 3");
}

TEST_F(NodeFlagsTest, SendATokenInTheClearToThisMachineOrWhenTold) {
  setenv("SWITCHYARD_TOKEN", "secret-token", 1);
  EXPECT_EQ(parse({"--node", "127.0.0.1:1"}), "");
  EXPECT_THAT(parse({"--node", "far.example:1"}), HasSubstr("--send-token-in-the-clear"));
  EXPECT_EQ(parse({"--node", "far.example:1", "--tls"}), "");
  EXPECT_EQ(parse({"--node", "far.example:1", "--send-token-in-the-clear"}), "");
}

TEST_F(NodeFlagsTest, LookAtEachOfSeveralTargetsBeforeATokenGoesInTheClear) {
  setenv("SWITCHYARD_TOKEN", "secret-token", 1);
  EXPECT_THAT(parse({}, {"127.0.0.1:1", "far.example:1"}),
              testing::AllOf(HasSubstr("--targets"), HasSubstr("far.example:1")));
  // Then the node of --node is not asked.
  EXPECT_EQ(parse({"--node", "far.example:1"}, {"127.0.0.1:1", "[::1]:2"}), "");
}

TEST(Loopback, IsThisMachineByItsNumbersAndName) {
  for (const char* here : {"127.0.0.1:50051", "127.1.2.3", "localhost:1", "[::1]:1", "unix:/run/x",
                           "dns:///localhost:1", "ipv4:127.0.0.1:1", "ipv6:[::1]:1"}) {
    EXPECT_TRUE(is_loopback(here)) << here;
  }
  for (const char* elsewhere :
       {"10.0.0.1:1", "127.example.com:1", "localhost.example.com:1", "[::2]:1", "node:50051", "",
        "ipv4:127.0.0.1:1,10.0.0.1:1", "dns://127.0.0.1/node:1", "0.0.0.0:1"}) {
    EXPECT_FALSE(is_loopback(elsewhere)) << elsewhere;
  }
}

}  // namespace
}  // namespace switchyard
