// What is done to the nodes while a load goes on: commands, when they run, and how they end.
#include "client/load/events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace switchyard {
namespace {

using testing::HasSubstr;
using Clock = std::chrono::steady_clock;
using Kind = PlannedEvent::Kind;

TEST(Events, AreSecondsAndWhatIsDone) {
  const auto event = parse_event(Kind::kCommand, "1.5:kill -9 7; echo a:b");
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(event->at_seconds, 1.5);
  EXPECT_EQ(event->what, "kill -9 7; echo a:b");
  EXPECT_EQ(parse_event(Kind::kDrain, "30:127.0.0.1:9001")->what, "127.0.0.1:9001");
  const auto problem = [](std::string_view text) {
    return std::string(parse_event(Kind::kDrain, text).status().message());
  };
  for (const char* text : {"", ":", "5", "5:", "x:y", "1e999:y"}) {
    EXPECT_THAT(problem(text), HasSubstr("is not SECONDS:HOST:PORT")) << text;
  }
  for (const char* text : {"-1:x", "604801:x", "nan:x", "inf:x"}) {
    EXPECT_THAT(problem(text), HasSubstr("seconds must be in [0, 604800]")) << text;
  }
}

class EventRunnerTest : public testing::Test {
 protected:
  static PlannedEvent command(double at_seconds, const std::string& line) {
    return {.at_seconds = at_seconds, .kind = Kind::kCommand, .what = line};
  }
  // Until the file is there; a command makes it.
  void wait_for_file() const {
    while (!std::filesystem::exists(path_))
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  void TearDown() override { std::filesystem::remove(path_); }

  const std::string path_ = testing::TempDir() + "event-" + std::to_string(getpid());
};

TEST_F(EventRunnerTest, CommandsRunInTheirTimeAndTellHowTheyEnded) {
  EventRunner runner({command(0.2, "exit 3"), command(0.1, "test -t 0 || echo \"$$\" > " + path_),
                      command(0.15, "kill -9 $$"), command(600, "true")},
                     Clock::now());
  wait_for_file();
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  const std::vector<EventRecord> records = runner.finish();
  ASSERT_EQ(records.size(), 4u);
  EXPECT_TRUE(records[0].succeeded);
  EXPECT_EQ(records[0].outcome, "exit code 0");
  EXPECT_GE(records[0].began_ns, 100'000'000);
  EXPECT_GE(records[0].ended_ns, records[0].began_ns);
  EXPECT_EQ(records[1].outcome, "ended by signal 9");
  EXPECT_FALSE(records[1].succeeded);
  EXPECT_EQ(records[2].outcome, "exit code 3");
  EXPECT_FALSE(records[2].succeeded);
  EXPECT_EQ(records[3].outcome, "the run was over before");
  EXPECT_EQ(records[3].began_ns, -1);
}

TEST_F(EventRunnerTest, WhatOutlastsTheRunIsEndedWithAllThatItBegan) {
  EventRunner runner({command(0, "sleep 600 & echo $! > " + path_ + "; wait")}, Clock::now());
  wait_for_file();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const auto before = Clock::now();
  const std::vector<EventRecord> records = runner.finish();
  EXPECT_LT(Clock::now() - before, std::chrono::seconds(2));
  EXPECT_EQ(records[0].outcome, "outlasted the run: ended by signal 15");
  pid_t sleeper = 0;
  std::ifstream(path_) >> sleeper;
  ASSERT_GT(sleeper, 0);
  for (int i = 0; i < 500 && kill(sleeper, 0) == 0; ++i) {
    // A zombie until init has seen it; it sleeps no more.
    std::string state;
    std::getline(std::ifstream("/proc/" + std::to_string(sleeper) + "/stat"), state);
    if (state.find(") Z ") != std::string::npos) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_NE(kill(sleeper, 0), 0);
}

TEST_F(EventRunnerTest, WhoeverIgnoresTheSignalIsKilled) {
  EventRunner runner({command(0, "trap '' TERM; touch " + path_ + "; while :; do sleep 0.1; done")},
                     Clock::now());
  wait_for_file();
  const std::vector<EventRecord> records = runner.finish();
  EXPECT_EQ(records[0].outcome, "outlasted the run: ended by signal 9");
}

TEST_F(EventRunnerTest, ANodeThatIsNotThereIsNotDrained) {
  EventRunner runner({{.at_seconds = 0, .kind = Kind::kDrain, .what = "127.0.0.1:1"}},
                     Clock::now());
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const std::vector<EventRecord> records = runner.finish();
  EXPECT_EQ(records[0].what, "drain 127.0.0.1:1");
  EXPECT_FALSE(records[0].succeeded);
  EXPECT_THAT(records[0].outcome, HasSubstr("127.0.0.1:1"));
}

}  // namespace
}  // namespace switchyard
