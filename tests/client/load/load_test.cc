// Loads as a whole: targets, the check against answers asked alone, sweeps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <thread>

#include "google/rpc/error_details.pb.h"
#include "tests/client/load/load_world.h"
#include "tests/client/stub_node.h"

namespace switchyard::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::Each;
using testing::Field;
using testing::HasSubstr;

StubAnswer refuse(const v1::GenerateRequest& /*request*/) {
  google::rpc::ErrorInfo info;
  info.set_reason("QUEUE_FULL");
  return {.refusal =
              status_with(grpc::StatusCode::RESOURCE_EXHAUSTED, "full", info, retry_after(1ms))};
}

TEST(Targets, AreAskedInTurnOverConnectionsOfTheirOwn) {
  LoadStub first(at_once);
  LoadStub second(at_once);
  Targets targets({}, {first.address(), second.address()}, 2);
  auto load =
      Load::open(*parse_load_spec(spec_of({{"rate", 1000}}, {{"requests", 40}})), targets, 5s);
  ASSERT_TRUE(load.ok()) << load.status();
  const auto run = (*load)->run();
  ASSERT_TRUE(run.ok());
  EXPECT_EQ(first.seen().size(), 20u);
  EXPECT_EQ(second.seen().size(), 20u);
  EXPECT_EQ(run->records[0].target, first.address());
  EXPECT_EQ(run->records[1].target, second.address());
  EXPECT_EQ(run->facts.channels, 2);
  std::map<std::string, int> connections;
  for (const LoadStub::Seen& seen : first.seen()) ++connections[seen.peer];
  EXPECT_EQ(connections.size(), 2u);
  for (const auto& [peer, requests] : connections) EXPECT_EQ(requests, 10) << peer;
}

TEST(Targets, GetTheMetadataOfTheCallers) {
  LoadStub stub(at_once);
  Targets targets({.metadata = {{"x-session-id", "mine"}}}, {stub.address()}, 1);
  auto load =
      Load::open(*parse_load_spec(spec_of({{"rate", 1000}}, {{"requests", 3}})), targets, 5s);
  ASSERT_TRUE(load.ok()) << load.status();
  ASSERT_TRUE((*load)->run().ok());
  for (const LoadStub::Seen& seen : stub.seen()) EXPECT_EQ(seen.session, "mine");
  EXPECT_EQ(stub.seen().size(), 3u);
}

TEST(Targets, ShareByWhatTheySayOfThemselves) {
  LoadStub idle(at_once);
  LoadStub busy(at_once);
  idle.set_utilization(0.2);
  busy.set_utilization(0.8);
  Targets targets({}, {idle.address(), busy.address()}, 1, BalancePolicy::kWeightedRoundRobin);
  auto load =
      Load::open(*parse_load_spec(spec_of({{"rate", 400}}, {{"requests", 600}})), targets, 5s);
  ASSERT_TRUE(load.ok()) << load.status();
  const auto run = (*load)->run();
  ASSERT_TRUE(run.ok());
  EXPECT_EQ(run->facts.balance, "weighted-round-robin");
  // Until both have said something the turns are equal.
  EXPECT_GT(idle.seen().size(), 3 * busy.seen().size());
}

TEST(Targets, KeepConversationsTogetherOnTheRing) {
  LoadStub first(at_once);
  LoadStub second(at_once);
  Targets targets({}, {first.address(), second.address()}, 2, BalancePolicy::kRingHash);
  auto load =
      Load::open(*parse_load_spec(spec_of(
                     {{"concurrency", 4}},
                     {{"requests", 80}, {"classes", {{{"prompt_tokens", 4}, {"turns", 4}}}}})),
                 targets, 5s);
  ASSERT_TRUE(load.ok()) << load.status();
  const auto run = (*load)->run();
  ASSERT_TRUE(run.ok());
  std::map<int64_t, std::set<std::string>> asked;
  std::set<std::string> all;
  for (const RequestRecord& record : run->records) {
    asked[record.session].insert(record.target);
    all.insert(record.target);
  }
  EXPECT_GE(asked.size(), 20u);
  for (const auto& [session, addresses] : asked) EXPECT_EQ(addresses.size(), 1u) << session;
  EXPECT_EQ(all.size(), 2u);
}

TEST(Targets, WhoeverRefusedIsNotAskedAgainAndWhoeverIsGoneIsPassedOver) {
  auto gone = std::make_unique<LoadStub>(at_once);
  LoadStub full(refuse);
  LoadStub good(at_once);
  Targets targets({}, {gone->address(), full.address(), good.address()}, 1);
  auto load = Load::open(
      *parse_load_spec(spec_of({{"concurrency", 1}}, {{"requests", 30}, {"retries", 1}})), targets,
      5s);
  ASSERT_TRUE(load.ok()) << load.status();
  gone.reset();
  const auto run = (*load)->run();
  ASSERT_TRUE(run.ok());
  int lost = 0;
  int moved = 0;
  for (const RequestRecord& record : run->records) {
    lost += record.code != 0;
    moved += record.first_target == full.address() && record.target == good.address();
  }
  EXPECT_LE(lost, 2);  // whoever finds out that nobody listens there any more
  EXPECT_GE(moved, 8);
}

TEST(Targets, ARetryLeavesTheTargetOfItsKey) {
  LoadStub full(refuse);
  LoadStub good(at_once);
  Targets targets({}, {full.address(), good.address()}, 1, BalancePolicy::kRingHash);
  auto load = Load::open(
      *parse_load_spec(spec_of({{"concurrency", 1}}, {{"requests", 30}, {"retries", 1}})), targets,
      5s);
  ASSERT_TRUE(load.ok()) << load.status();
  const auto run = (*load)->run();
  ASSERT_TRUE(run.ok());
  for (const RequestRecord& record : run->records) {
    EXPECT_EQ(record.code, 0) << record.message;
    EXPECT_EQ(record.target, good.address());
  }
  EXPECT_GT(full.seen().size(), 5u);
}

TEST(Load, TellsWhatWasDoneToTheNodes) {
  World world(at_once);
  auto load = world.load(spec_of({{"rate", 200}}, {{"duration_seconds", 0.5}}));
  load->set_events({{.at_seconds = 0.2, .kind = PlannedEvent::Kind::kCommand, .what = "exit 4"},
                    {.at_seconds = 60, .kind = PlannedEvent::Kind::kCommand, .what = "true"}});
  const auto run = load->run();
  ASSERT_TRUE(run.ok());
  ASSERT_EQ(run->facts.events.size(), 2u);
  EXPECT_EQ(run->facts.events[0].outcome, "exit code 4");
  EXPECT_GE(run->facts.events[0].began_ns, 200 * kMs);
  EXPECT_EQ(run->facts.events[1].began_ns, -1);
}

TEST(Targets, AreWaitedForUntilTheyServe) {
  LoadStub stub(at_once);
  stub.set_serving(false);
  Targets targets({}, {stub.address()}, 1);
  const absl::Status status = targets.wait_until_ready(300ms);
  EXPECT_THAT(std::string(status.message()), HasSubstr("is not serving"));
  std::thread later([&] { stub.set_serving(true); });
  EXPECT_TRUE(targets.wait_until_ready(10s).ok());
  later.join();
}

TEST(GreedyCheck, FindsAnswersThatTheLoadChanged) {
  std::atomic<int> open = 0;
  std::atomic<bool> changed = false;
  World world([&](const v1::GenerateRequest& request) {
    EXPECT_EQ(request.sampling().temperature(), 0);
    ++open;
    // The 31st and later are asked alone.
    return StubAnswer{.tokens = changed && open > 30 ? 3 : request.stop().max_new_tokens()};
  });
  const json spec = spec_of({{"rate", 500}}, {{"requests", 30}, {"check_greedy", 5}});
  const LoadRun same = world.run(spec);
  ASSERT_TRUE(same.facts.greedy);
  ASSERT_EQ(same.facts.greedy->size(), 5u);
  EXPECT_THAT(*same.facts.greedy, Each(Field(&GreedyComparison::diverged_at, -1)));
  open = 0;
  changed = true;
  const LoadRun other = world.run(spec);
  ASSERT_EQ(other.facts.greedy->size(), 5u);
  EXPECT_THAT(*other.facts.greedy, Each(Field(&GreedyComparison::diverged_at, 3)));
}

TEST(Sweep, HalvesItsWayToTheHighestRateThatIsMet) {
  World world(at_once);
  auto load = world.load(spec_of({{"rate", 1}}, {{"duration_seconds", 1}}));
  const auto judge = [](const LoadRun& run) {
    // Meets up to 60 requests/s: told from the specification, so that no clock decides.
    const double rate = json::parse(run.facts.spec_json)["arrival"]["rate"];
    return SweepVerdict{.met = rate <= 60, .why = "by decree"};
  };
  const auto result =
      load->sweep({.lowest_rate = 20, .highest_rate = 180, .seconds = 1, .precision = 0.2}, judge);
  ASSERT_TRUE(result.ok()) << result.status();
  std::set<uint64_t> seeds;
  for (const SweepPoint& point : result->points) seeds.insert(point.run.facts.seed);
  EXPECT_EQ(seeds.size(), result->points.size());
  EXPECT_EQ(result->points[0].rate, 20);
  EXPECT_EQ(result->points[1].rate, 180);
  EXPECT_LE(result->best_rate, 60);
  EXPECT_GE(result->best_rate, 50);
  EXPECT_FALSE(result->at_the_limit);
}

}  // namespace
}  // namespace switchyard::test
