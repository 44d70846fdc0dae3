#include "node/node.h"

#include <algorithm>
#include <utility>

namespace switchyard {

Duration without_progress(const EngineLoad& load,
                          std::optional<TimePoint> busy_since,
                          TimePoint now) {
  if (!busy_since) return Duration::zero();
  return std::max(Duration::zero(), now - std::max(load.last_progress, *busy_since));
}

Node::Node(const Config& config, const Clock& clock, Log& log)
    : config_(config),
      clock_(clock),
      log_(log),
      gate_(config.tokens_file.empty() ? Access::kOpen : Access::kToken),
      courier_(clock) {}

Node::~Node() = default;

void Node::publish(std::unique_ptr<Serving> serving) {
  CHECK(serving_ == nullptr);
  serving_ = std::move(serving);
  published_ = serving_.get();
}

Status Node::starting() {
  return Status::busy(Code::kUnavailable, "STARTING", std::chrono::milliseconds(1000),
                      "this node is loading its model");
}

void Node::refresh_load_report() {
  if (const Serving* serving = this->serving()) {
    load_reporter_.refresh(clock_.now(), serving->engine->load(),
                           serving->engine->options().max_batch_rows, metrics_);
  }
}

void Node::drain() {
  if (Serving* serving = this->serving()) {
    serving->admission.drain();
    serving->engine->drain();
  }
}

void Node::cancel_all(const Status& why) {
  if (Serving* serving = this->serving()) {
    for (const InFlight& request : serving->engine->in_flight()) {
      serving->engine->cancel(request.id, why);
    }
  }
}

NodeState Node::state() const {
  const Serving* serving = this->serving();
  if (serving == nullptr) return NodeState::kStarting;
  const Duration stalled =
      without_progress(serving->engine->load(), serving->admission.busy_since(), clock_.now());
  if (stalled > config_.progress_limit) return NodeState::kFailed;
  if (stalled > config_.ready_progress_limit) return NodeState::kStalled;
  return serving->admission.draining() ? NodeState::kDraining : NodeState::kReady;
}

}  // namespace switchyard
