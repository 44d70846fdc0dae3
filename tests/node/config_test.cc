#include "node/config.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "node/units.h"

namespace switchyard {
namespace {

using Variables = std::map<std::string, std::string>;

Result<std::variant<Config, HelpText>> read(std::vector<const char*> arguments,
                                            const Variables& variables = {}) {
  return read_config(arguments, [&](const std::string& name) -> std::optional<std::string> {
    const auto it = variables.find(name);
    if (it == variables.end()) return std::nullopt;
    return it->second;
  });
}

Config good(std::vector<const char*> arguments, const Variables& variables = {}) {
  auto result = read(std::move(arguments), variables);
  EXPECT_TRUE(result.ok()) << result.status().message();
  return result.ok() ? std::get<Config>(*result) : Config{};
}

std::string error(std::vector<const char*> arguments, const Variables& variables = {}) {
  return read(std::move(arguments), variables).status().message();
}

// A configuration file that is gone at the end of the test.
class ConfigFile {
 public:
  explicit ConfigFile(const std::string& text) : path_(testing::TempDir() + "node_config.toml") {
    std::ofstream(path_) << text;
  }
  ~ConfigFile() { std::filesystem::remove(path_); }
  [[nodiscard]] const char* path() const { return path_.c_str(); }

 private:
  std::string path_;
};

TEST(Config, NeedsAModelAndHasDefaultsForTheRest) {
  EXPECT_NE(error({}).find("--model"), std::string::npos);
  const Config config = good({"--model", "/models/tiny"});
  EXPECT_EQ(config.model, "/models/tiny");
  EXPECT_EQ(config.model_name, "tiny");
  EXPECT_FALSE(config.node_id.empty());
  EXPECT_EQ(config.max_queue, Config{}.max_queue);
  EXPECT_EQ(config.drain_limit, Config{}.drain_limit);
  EXPECT_EQ(good({"--model", "/models/tiny/"}).model_name, "tiny");
}

TEST(Config, TakesFlagsBeforeEnvironmentBeforeFile) {
  const ConfigFile file("max-queue = 1\nmax-batch-rows = 1\nthreads = 1\n");
  const Variables variables = {{"SWITCHYARD_MAX_QUEUE", "2"}, {"SWITCHYARD_MAX_BATCH_ROWS", "2"}};
  const Config config =
      good({"--model", "m", "--config", file.path(), "--max-queue", "3"}, variables);
  EXPECT_EQ(config.max_queue, 3);
  EXPECT_EQ(config.max_batch_rows, 2);
  EXPECT_EQ(config.threads, 1);
}

TEST(Config, TakesTheModelFromTheEnvironmentAlone) {
  EXPECT_EQ(good({}, {{"SWITCHYARD_MODEL", "/m"}}).model, "/m");
}

TEST(Config, ReadsUnits) {
  const Config config = good({"--model", "m", "--kv-memory", "4GiB", "--drain-limit", "500ms",
                              "--max-message-bytes", "1MiB", "--random-weights", "7"});
  EXPECT_EQ(config.kv_memory_bytes, int64_t{4} << 30);
  EXPECT_EQ(config.drain_limit, std::chrono::milliseconds(500));
  EXPECT_EQ(config.max_message_bytes, 1 << 20);
  EXPECT_EQ(config.random_weights_seed, 7u);
}

TEST(Config, ReadsInWhichFormatsWeightsAreKept) {
  EXPECT_EQ(good({"--model", "m"}).weight_plan.weights, WeightChoice::kAuto);
  const Config config = good({"--model", "m", "--weights", "int4", "--head-weights", "bf16"},
                             {{"SWITCHYARD_WEIGHT_SCALES", "search"}});
  EXPECT_EQ(config.weight_plan.weights, WeightChoice::kInt4);
  EXPECT_EQ(config.weight_plan.head, WeightChoice::kBf16);
  EXPECT_EQ(config.weight_plan.scales, ScaleChoice::kSearch);
  EXPECT_NE(error({"--model", "m", "--weights", "int5"}).find("auto, bf16, fp8, int8 or int4"),
            std::string::npos);
}

TEST(Config, NamesTheFlagThatIsWrong) {
  const std::vector<std::vector<const char*>> wrong = {
      {"--kv-memory", "4 potatoes"},  {"--drain-limit", "90"}, {"--drain-limit", "0s"},
      {"--listen", "localhost"},      {"--metrics", "host:"},  {"--reflection", "maybe"},
      {"--metrics-on-listen", "yes"}, {"--max-queue", "0"},    {"--max-batch-rows", "-1"},
      {"--random-weights", "many"},   {"--log-level", "loud"}, {"--stall-limit", "9999999h"},
      {"--weights", "int5"},          {"--head-weights", ""},  {"--weight-scales", "best"}};
  for (const auto& flags : wrong) {
    EXPECT_NE(error({"--model", "m", flags[0], flags[1]}).find(flags[0]), std::string::npos)
        << flags[0] << ": " << error({"--model", "m", flags[0], flags[1]});
  }
}

TEST(Config, RefusesWhatItDoesNotKnow) {
  EXPECT_NE(error({"--model", "m", "--frobnicate"}), "");
  const ConfigFile file("frobnicate = 1\n");
  EXPECT_NE(error({"--model", "m", "--config", file.path()}), "");
  EXPECT_NE(error({"--model", "m", "--config", "/no/such/file"}), "");
}

TEST(Config, HelpNamesEveryFlagThatItDescribes) {
  const auto result = read({"--help"});
  ASSERT_TRUE(result.ok());
  const std::string& text = std::get<HelpText>(*result).text;
  for (const auto& [flag, value] : describe(Config{})) {
    EXPECT_NE(text.find("--" + flag), std::string::npos) << flag;
  }
}

TEST(Units, FormatWhatTheyParse) {
  for (const char* text : {"90s", "1500ms", "2m", "1h"}) {
    const Result<Duration> duration = parse_duration("x", text);
    ASSERT_TRUE(duration.ok());
    EXPECT_EQ(format_duration(*duration), text);
  }
  EXPECT_FALSE(parse_bytes("x", "99999999999TiB").ok());
  EXPECT_FALSE(parse_bytes("x", "-1").ok());
  EXPECT_FALSE(parse_bytes("x", "").ok());
}

TEST(Config, TakesSecurityFromFilesAndNeverFromFlags) {
  const Config config =
      good({"--model", "m", "--tls-cert", "c", "--tls-key", "k", "--tls-client-ca", "a",
            "--tokens-file", "t", "--reload-interval", "5s"},
           {});
  EXPECT_EQ(config.tls_cert, "c");
  EXPECT_EQ(config.tls_key, "k");
  EXPECT_EQ(config.tls_client_ca, "a");
  EXPECT_EQ(config.tokens_file, "t");
  EXPECT_EQ(config.reload_interval, std::chrono::seconds(5));
  EXPECT_EQ(good({"--model", "m"}, {{"SWITCHYARD_TOKENS_FILE", "t"}}).tokens_file, "t");
  EXPECT_NE(error({"--model", "m", "--token", "secret"}), "");
}

TEST(Config, HasMetricsOnThePublicPortOnlyWhenAskedAndWithoutTls) {
  EXPECT_FALSE(good({"--model", "m"}).metrics_on_listen);
  EXPECT_TRUE(good({"--model", "m", "--metrics-on-listen", "on"}).metrics_on_listen);
  EXPECT_EQ(
      error({"--model", "m", "--metrics-on-listen", "on", "--tls-cert", "c", "--tls-key", "k"})
          .find("--metrics-on-listen: "),
      0u);
  good({"--model", "m", "--metrics-on-listen", "off", "--tls-cert", "c", "--tls-key", "k"});
}

TEST(Config, WantsACertificateWithItsKey) {
  EXPECT_EQ(error({"--model", "m", "--tls-cert", "c"}).find("--tls-key: "), 0u);
  EXPECT_EQ(error({"--model", "m", "--tls-key", "k"}).find("--tls-cert: "), 0u);
  EXPECT_EQ(error({"--model", "m", "--tls-client-ca", "a"}).find("--tls-cert: "), 0u);
}

TEST(Config, LosesReadinessBeforeItsLife) {
  const Config config = good({"--model", "m"});
  EXPECT_LT(config.ready_progress_limit, std::chrono::seconds(5));
  EXPECT_EQ(error({"--model", "m", "--progress-limit", "2s"}),
            "--ready-progress-limit: 4s is over --progress-limit, 2s");
}

}  // namespace
}  // namespace switchyard
