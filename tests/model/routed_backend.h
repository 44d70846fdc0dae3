// A backend in front of another whose router is told what to choose. With the choices of a run on
// another backend given, both runs compute the same function and can be compared closely; how much
// worse than the best a choice was is on record.
#pragma once

#include <vector>

#include "tests/support/forwarding_backend.h"

namespace switchyard {

// For backends that compute when they are called and whose memory the host reads.
class RoutedBackend final : public ForwardingBackend {
 public:
  using Choices = std::vector<std::vector<int>>;  // per token of a step, experts in rising order

  // By how much the worst chosen expert's selection score is below the best one left out, on this
  // backend's own scores; 0 where these choose the same. And how far apart its own choice is from
  // the next: what rounding must overcome to change it.
  struct Choice {
    float loss = 0;
    float margin = 0;
  };

  explicit RoutedBackend(Backend& inner) : ForwardingBackend(inner) {}

  // The choices of the next step, by MoE layer in order.
  void choose(std::vector<Choices> layers);
  // Of every choice made since choose(): by MoE layer, by token.
  [[nodiscard]] const std::vector<std::vector<Choice>>& made() const { return made_; }

  void begin_capture() override { CHECK(false); }
  std::unique_ptr<Graph> end_capture() override { CHECK(false); }

 private:
  void do_route(const RouteArgs& args) override;

  std::vector<Choices> layers_;
  std::vector<std::vector<Choice>> made_;
};

}  // namespace switchyard
