// One load against one stub, for tests of the driver.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "client/load/load.h"
#include "tests/client/load/load_stub.h"

namespace switchyard::test {

inline constexpr int64_t kMs = 1'000'000;

class World {
 public:
  explicit World(LoadStub::Respond respond, int channels = 1)
      : stub(std::move(respond)), targets({}, {stub.address()}, channels) {}

  std::unique_ptr<Load> load(const nlohmann::json& spec) {
    const auto parsed = parse_load_spec(spec);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    auto opened = Load::open(*parsed, targets, std::chrono::seconds(5));
    EXPECT_TRUE(opened.ok()) << opened.status();
    return *std::move(opened);
  }
  LoadRun run(const nlohmann::json& spec) {
    auto result = load(spec)->run();
    EXPECT_TRUE(result.ok()) << result.status();
    return *std::move(result);
  }

  LoadStub stub;
  Targets targets;
};

inline StubAnswer at_once(const v1::GenerateRequest& request) {
  return {.tokens = request.stop().max_new_tokens()};
}

// Requests of 8 prompt and 4 answer tokens.
inline nlohmann::json spec_of(const nlohmann::json& arrival,
                              const nlohmann::json& more = nlohmann::json::object()) {
  nlohmann::json spec = {{"arrival", arrival},
                         {"classes", {{{"prompt_tokens", 8}, {"answer_tokens", 4}}}},
                         {"grace_seconds", 10}};
  spec.merge_patch(more);
  return spec;
}

inline double since_intended_ms(const RequestRecord& record) {
  return static_cast<double>(record.arrivals.at(0).at_ns - record.intended_ns) / kMs;
}

}  // namespace switchyard::test
