#include "engine/in_flight.h"

#include <algorithm>

namespace switchyard {

bool InFlightBoard::add(const Request& request) {
  const RequestFields& fields = request.fields();
  std::lock_guard lock(mutex_);
  if (waiting_ >= max_waiting_) return false;
  const bool added =
      entries_
          .emplace(fields.id, Entry{.label = fields.label,
                                    .arrival = fields.arrival,
                                    .priority = fields.priority,
                                    .prompt_tokens = static_cast<int>(fields.prompt.size())})
          .second;
  CHECK(added);  // ids come from Engine::next_id
  ++waiting_;
  return true;
}

void InFlightBoard::update(std::span<const AnswerProgress> progress) {
  if (progress.empty()) return;
  std::lock_guard lock(mutex_);
  for (const AnswerProgress& moved : progress) {
    const auto found = entries_.find(moved.id);
    if (found == entries_.end()) continue;
    Entry& entry = found->second;
    waiting_ -= entry.phase == Phase::kQueued;
    waiting_ += moved.phase == Phase::kQueued;
    entry.phase = moved.phase;
    entry.completion_tokens = moved.output_tokens;
  }
}

void InFlightBoard::remove(RequestId id) {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  waiting_ -= found->second.phase == Phase::kQueued;
  entries_.erase(found);
}

bool InFlightBoard::mark_cancelled(RequestId id) {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.cancelled) return false;
  return found->second.cancelled = true;
}

InFlightBoard::Counts InFlightBoard::counts() const {
  const TimePoint now = clock_.now();
  std::lock_guard lock(mutex_);
  Counts counts;
  counts.waiting = static_cast<int>(waiting_);
  counts.running = static_cast<int>(entries_.size() - waiting_);
  for (const auto& [id, entry] : entries_) {
    if (entry.phase == Phase::kQueued) {
      counts.oldest_wait = std::max(counts.oldest_wait, Duration(now - entry.arrival));
    }
  }
  return counts;
}

std::vector<InFlight> InFlightBoard::list() const {
  const TimePoint now = clock_.now();
  std::vector<InFlight> listed;
  {
    std::lock_guard lock(mutex_);
    listed.reserve(entries_.size());
    for (const auto& [id, entry] : entries_) {
      listed.push_back({.id = id,
                        .label = entry.label,
                        .phase = entry.phase,
                        .priority = entry.priority,
                        .prompt_tokens = entry.prompt_tokens,
                        .completion_tokens = entry.completion_tokens,
                        .age = now - entry.arrival});
    }
  }
  std::sort(listed.begin(), listed.end(),
            [](const InFlight& a, const InFlight& b) { return a.id < b.id; });
  return listed;
}

}  // namespace switchyard
