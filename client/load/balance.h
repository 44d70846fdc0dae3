// Balancers: which of several targets the next request of a load goes to, as gRPC's own policies
// would choose. Know neither connections nor requests.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard {

enum class BalancePolicy : uint8_t { kRoundRobin, kWeightedRoundRobin, kRingHash };

std::string_view balance_name(BalancePolicy policy);
std::optional<BalancePolicy> balance_of(std::string_view name);

// What a target says of itself (ORCA, gRFC A51).
struct TargetLoad {
  double utilization = 0;  // 1: full
  double requests_per_second = 0;
  double errors_per_second = 0;
};

// One thread's. Targets are named by their index in the list that it was made with.
class Balancer {
 public:
  // Whether a target may be picked, such as whether it can be reached at all.
  using Usable = std::function<bool(size_t target)>;

  virtual ~Balancer() = default;
  // Where no target is usable, the one that would have been picked if all were. `key`: requests
  // with the same one belong together.
  virtual size_t pick(std::string_view key, const Usable& usable) = 0;
  virtual void learn(size_t target, const TargetLoad& load, int64_t now_ns) = 0;
};

// At least one address.
//
// Weighted: as gRFC A58. A weight is requests/s over utilization plus the share of errors, and
// forgotten after three minutes; targets without one weigh the mean, and fewer than two weights are
// none. No blackout: a load begins with equal weights.
//
// Ring hash: 160 points for each address; a key goes to the first usable target from its own point
// on, so that a target's end moves only its own keys. The ring is a function of the addresses.
std::unique_ptr<Balancer> make_balancer(BalancePolicy policy,
                                        const std::vector<std::string>& addresses);

}  // namespace switchyard
