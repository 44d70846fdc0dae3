#include "engine/in_flight.h"

#include <algorithm>

namespace switchyard {

void InFlightBoard::begin_waiting(RequestId id, const Entry& entry) {
  queue_.emplace(entry.arrival, id);
  ++waiting_by_class_[static_cast<size_t>(priority_class(entry.priority))];
  oldest_arrival_ = queue_.begin()->first;
}

void InFlightBoard::end_waiting(RequestId id, const Entry& entry) {
  queue_.erase({entry.arrival, id});
  --waiting_by_class_[static_cast<size_t>(priority_class(entry.priority))];
  oldest_arrival_ = queue_.empty() ? kNever : queue_.begin()->first;
}

bool InFlightBoard::add(const Request& request) {
  const RequestFields& fields = request.fields();
  std::lock_guard lock(mutex_);
  if (queue_.size() >= max_waiting_) return false;
  const auto [entry, added] =
      entries_.emplace(fields.id, Entry{.label = fields.label,
                                        .tenant = fields.tenant,
                                        .arrival = fields.arrival,
                                        .priority = fields.priority,
                                        .prompt_tokens = static_cast<int>(fields.prompt.size())});
  CHECK(added);  // ids come from Engine::next_id
  begin_waiting(fields.id, entry->second);
  return true;
}

void InFlightBoard::update(std::span<const AnswerProgress> progress) {
  if (progress.empty()) return;
  std::lock_guard lock(mutex_);
  for (const AnswerProgress& moved : progress) {
    const auto found = entries_.find(moved.id);
    if (found == entries_.end()) continue;
    Entry& entry = found->second;
    const bool waited = entry.phase == Phase::kQueued;
    const bool waits = moved.phase == Phase::kQueued;
    if (waited && !waits) {
      end_waiting(moved.id, entry);
      ++running_;
    } else if (waits && !waited) {
      begin_waiting(moved.id, entry);
      --running_;
    }
    entry.phase = moved.phase;
    entry.completion_tokens = moved.output_tokens;
  }
}

void InFlightBoard::remove(RequestId id) {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  if (found->second.phase == Phase::kQueued) {
    end_waiting(id, found->second);
  } else {
    --running_;
  }
  entries_.erase(found);
}

bool InFlightBoard::mark_cancelled(RequestId id) {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.cancelled) return false;
  return found->second.cancelled = true;
}

InFlightBoard::Counts InFlightBoard::counts() const {
  Counts counts;
  counts.running = running_;
  for (size_t i = 0; i < kPriorityClasses; ++i) {
    counts.waiting_by_class[i] = waiting_by_class_[i];
    counts.waiting += counts.waiting_by_class[i];
  }
  if (const TimePoint oldest = oldest_arrival_; oldest != kNever) {
    counts.oldest_wait = std::max(Duration::zero(), clock_.now() - oldest);
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
                        .tenant = entry.tenant,
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
