// Which target is next: turns, weights, and keys that stay where they were.
#include "client/load/balance.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace switchyard {
namespace {

const std::vector<std::string> kFour = {"a:1", "b:1", "c:1", "d:1"};

bool all(size_t /*target*/) { return true; }

std::map<size_t, int> picks(Balancer& balancer, int count, const Balancer::Usable& usable = all) {
  std::map<size_t, int> picked;
  for (int i = 0; i < count; ++i) ++picked[balancer.pick(std::to_string(i), usable)];
  return picked;
}

TEST(Balance, HasAName) {
  for (const auto policy :
       {BalancePolicy::kRoundRobin, BalancePolicy::kWeightedRoundRobin, BalancePolicy::kRingHash}) {
    EXPECT_EQ(balance_of(balance_name(policy)), policy);
  }
  EXPECT_EQ(balance_of("random"), std::nullopt);
}

TEST(RoundRobin, TakesEachInItsTurnAndPassesOverWhatIsNotUsable) {
  const auto balancer = make_balancer(BalancePolicy::kRoundRobin, kFour);
  for (size_t i = 0; i < 12; ++i) EXPECT_EQ(balancer->pick("", all), i % 4);
  const auto not_b = [](size_t target) { return target != 1; };
  EXPECT_EQ(picks(*balancer, 30, not_b), (std::map<size_t, int>{{0, 10}, {2, 10}, {3, 10}}));
  // Whoever comes back has not saved up turns.
  for (const auto& [target, count] : picks(*balancer, 80)) EXPECT_NEAR(count, 20, 1) << target;
  const auto none = [](size_t) { return false; };
  EXPECT_EQ(picks(*balancer, 8, none).size(), 4u);  // all the same then
}

TEST(WeightedRoundRobin, SharesByRateOverUtilization) {
  const auto balancer = make_balancer(BalancePolicy::kWeightedRoundRobin, {"a:1", "b:1", "c:1"});
  EXPECT_EQ(picks(*balancer, 30), (std::map<size_t, int>{{0, 10}, {1, 10}, {2, 10}}));
  balancer->learn(0, {.utilization = 0.2, .requests_per_second = 10}, 0);  // weight 50
  EXPECT_EQ(picks(*balancer, 30),
            (std::map<size_t, int>{{0, 10}, {1, 10}, {2, 10}}));          // one is none
  balancer->learn(1, {.utilization = 0.8, .requests_per_second = 8}, 0);  // weight 10
  const auto shares = picks(*balancer, 900);                              // c weighs the mean, 30
  EXPECT_NEAR(shares.at(0), 500, 3);
  EXPECT_NEAR(shares.at(1), 100, 3);
  EXPECT_NEAR(shares.at(2), 300, 3);
  // Errors weigh like utilization; nonsense is not heard.
  balancer->learn(0, {.utilization = 0.2, .requests_per_second = 10, .errors_per_second = 8}, 1);
  balancer->learn(1, {.utilization = 0, .requests_per_second = 8}, 1);
  const auto worse = picks(*balancer, 900);  // both 10
  for (const size_t target : {0, 1, 2}) EXPECT_NEAR(worse.at(target), 300, 3);
}

TEST(WeightedRoundRobin, ForgetsWhatIsOld) {
  const auto balancer = make_balancer(BalancePolicy::kWeightedRoundRobin, {"a:1", "b:1"});
  balancer->learn(0, {.utilization = 0.1, .requests_per_second = 10}, 0);
  balancer->learn(1, {.utilization = 1, .requests_per_second = 10}, 0);
  EXPECT_NEAR(picks(*balancer, 1100).at(0), 1000, 3);
  balancer->learn(1, {.utilization = 1, .requests_per_second = 10}, 200'000'000'000);
  EXPECT_NEAR(picks(*balancer, 1000).at(0), 500, 3);
}

TEST(RingHash, KeepsKeysAndMovesOnlyThoseOfWhoIsGone) {
  const auto balancer = make_balancer(BalancePolicy::kRingHash, kFour);
  const auto shares = picks(*balancer, 8000);
  for (const size_t target : {0, 1, 2, 3}) EXPECT_NEAR(shares.at(target), 2000, 500);
  const auto not_c = [](size_t target) { return target != 2; };
  std::set<size_t> heirs;
  for (int i = 0; i < 2000; ++i) {
    const std::string key = "session-" + std::to_string(i);
    const size_t before = balancer->pick(key, all);
    EXPECT_EQ(balancer->pick(key, all), before);
    const size_t without = balancer->pick(key, not_c);
    if (before != 2) {
      EXPECT_EQ(without, before);
    } else {
      heirs.insert(without);
    }
  }
  EXPECT_EQ(heirs, (std::set<size_t>{0, 1, 3}));
  const auto none = [](size_t) { return false; };
  EXPECT_EQ(balancer->pick("x", none), balancer->pick("x", all));
}

TEST(RingHash, IsAFunctionOfTheAddresses) {
  const auto forwards = make_balancer(BalancePolicy::kRingHash, {"a:1", "b:1", "c:1"});
  const auto backwards = make_balancer(BalancePolicy::kRingHash, {"c:1", "b:1", "a:1"});
  for (int i = 0; i < 500; ++i) {
    const std::string key = std::to_string(i);
    EXPECT_EQ(forwards->pick(key, all), 2 - backwards->pick(key, all));
  }
}

}  // namespace
}  // namespace switchyard
