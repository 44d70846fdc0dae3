#include "client/load/balance.h"

#include <algorithm>
#include <array>
#include <utility>

#include "client/load/random.h"

namespace switchyard {
namespace {

constexpr std::array<std::string_view, 3> kNames = {"round-robin", "weighted-round-robin",
                                                    "ring-hash"};

// Each target in its turn; with equal shares that is what weights come to.
class WeightedRoundRobin : public Balancer {
 public:
  explicit WeightedRoundRobin(size_t targets) : next_(targets) {}

  size_t pick(std::string_view /*key*/, const Usable& usable) override {
    size_t first = 0;
    std::optional<size_t> first_usable;
    for (size_t target = 0; target < next_.size(); ++target) {
      if (next_of(target) < next_of(first)) first = target;
      const bool sooner = !first_usable || next_of(target) < next_of(*first_usable);
      if (sooner && usable(target)) first_usable = target;
    }
    const size_t picked = first_usable.value_or(first);
    now_ = next_of(picked);
    next_[picked] = now_ + 1 / share_of(picked);
    return picked;
  }
  void learn(size_t /*target*/, const TargetLoad& /*load*/, int64_t /*now_ns*/) override {}

 protected:
  [[nodiscard]] virtual double share_of(size_t /*target*/) const { return 1; }

 private:
  // One that was not usable for a while does not make up for it.
  [[nodiscard]] double next_of(size_t target) const { return std::max(next_[target], now_); }

  std::vector<double> next_;  // earliest deadline first; a target's are 1 / share apart
  double now_ = 0;
};

class OrcaRoundRobin final : public WeightedRoundRobin {
 public:
  explicit OrcaRoundRobin(size_t targets) : WeightedRoundRobin(targets), weights_(targets) {}

  void learn(size_t target, const TargetLoad& load, int64_t now_ns) override {
    now_ns_ = std::max(now_ns_, now_ns);
    if (!(load.requests_per_second > 0 && load.utilization > 0)) return;
    const double errors = std::max(load.errors_per_second, 0.0) / load.requests_per_second;
    weights_[target] = {load.requests_per_second / (load.utilization + errors), now_ns};
  }

 private:
  static constexpr int64_t kExpiresNs = 180'000'000'000;
  struct Weight {
    double value = 0;  // 0: none yet
    int64_t at_ns = 0;
  };

  [[nodiscard]] bool known(const Weight& weight) const {
    return weight.value > 0 && now_ns_ - weight.at_ns < kExpiresNs;
  }
  [[nodiscard]] double share_of(size_t target) const override {
    double sum = 0;
    int count = 0;
    for (const Weight& weight : weights_) {
      if (!known(weight)) continue;
      sum += weight.value;
      ++count;
    }
    if (count < 2 || !known(weights_[target])) return 1;
    return weights_[target].value * count / sum;
  }

  std::vector<Weight> weights_;
  int64_t now_ns_ = 0;
};

// FNV-1a, then a draw: its bits alone are too much alike for texts that are.
uint64_t hash_of(std::string_view text, uint64_t point) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return Random(hash, Draw::kRing, {point}).next();
}

class RingHash final : public Balancer {
 public:
  explicit RingHash(const std::vector<std::string>& addresses) {
    constexpr uint64_t kPoints = 160;
    for (size_t target = 0; target < addresses.size(); ++target) {
      for (uint64_t i = 0; i < kPoints; ++i)
        ring_.emplace_back(hash_of(addresses[target], i), target);
    }
    std::ranges::sort(ring_);
  }

  size_t pick(std::string_view key, const Usable& usable) override {
    constexpr uint64_t kKeys = UINT64_MAX;  // no target has a point of this number
    const auto first = std::ranges::lower_bound(ring_, std::pair(hash_of(key, kKeys), size_t{0}));
    const auto start = static_cast<size_t>(first - ring_.begin()) % ring_.size();
    for (size_t i = 0; i < ring_.size(); ++i) {
      const size_t target = ring_[(start + i) % ring_.size()].second;
      if (usable(target)) return target;
    }
    return ring_[start].second;
  }
  void learn(size_t /*target*/, const TargetLoad& /*load*/, int64_t /*now_ns*/) override {}

 private:
  std::vector<std::pair<uint64_t, size_t>> ring_;  // rising points
};

}  // namespace

std::string_view balance_name(BalancePolicy policy) { return kNames[static_cast<size_t>(policy)]; }

std::optional<BalancePolicy> balance_of(std::string_view name) {
  const auto found = std::ranges::find(kNames, name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<BalancePolicy>(found - kNames.begin());
}

std::unique_ptr<Balancer> make_balancer(BalancePolicy policy,
                                        const std::vector<std::string>& addresses) {
  switch (policy) {
    case BalancePolicy::kRoundRobin:
      return std::make_unique<WeightedRoundRobin>(addresses.size());
    case BalancePolicy::kWeightedRoundRobin:
      return std::make_unique<OrcaRoundRobin>(addresses.size());
    case BalancePolicy::kRingHash:
      return std::make_unique<RingHash>(addresses);
  }
  return nullptr;
}

}  // namespace switchyard
