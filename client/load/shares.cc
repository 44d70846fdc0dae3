#include "client/load/shares.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <tuple>

namespace switchyard {
namespace {

constexpr int32_t kOk = 0;
constexpr int32_t kResourceExhausted = 8;
constexpr int32_t kUnavailable = 14;
constexpr int32_t kCutCode = -1;

double share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

// Its reader had the beginning of an answer, and never gets the rest.
bool is_lost(const RequestRecord& record) {
  return !is_cut(record) && !completed(record) && !record.node_id.empty();
}

}  // namespace

double Outcomes::error_share() const { return share(failed + broken, completed + failed + broken); }

bool is_refusal(const RequestRecord& record) {
  return (record.code == kResourceExhausted || record.code == kUnavailable) &&
         record.node_id.empty() && arrived_tokens(record) == 0;
}

bool is_cut(const RequestRecord& record) { return record.cut || record.end_ns < 0; }

bool completed(const RequestRecord& record) {
  return record.code == kOk && !record.broken && !is_cut(record);
}

bool is_judged(const RequestRecord& record) {
  return record.measured && record.fault == LoadFault::kNone;
}

int64_t arrived_tokens(const RequestRecord& record) {
  int64_t tokens = 0;
  for (const TokenArrival& arrival : record.arrivals) tokens += std::max(arrival.tokens, 0);
  return tokens;
}

std::string code_name(int32_t code) {
  constexpr std::array<const char*, 17> kNames = {"OK",
                                                  "CANCELLED",
                                                  "UNKNOWN",
                                                  "INVALID_ARGUMENT",
                                                  "DEADLINE_EXCEEDED",
                                                  "NOT_FOUND",
                                                  "ALREADY_EXISTS",
                                                  "PERMISSION_DENIED",
                                                  "RESOURCE_EXHAUSTED",
                                                  "FAILED_PRECONDITION",
                                                  "ABORTED",
                                                  "OUT_OF_RANGE",
                                                  "UNIMPLEMENTED",
                                                  "INTERNAL",
                                                  "UNAVAILABLE",
                                                  "DATA_LOSS",
                                                  "UNAUTHENTICATED"};
  if (code == kCutCode) return "(cut by the end of the run)";
  if (code < 0 || code >= static_cast<int32_t>(kNames.size())) return std::to_string(code);
  return kNames[static_cast<size_t>(code)];
}

std::string_view fault_name(LoadFault fault) {
  switch (fault) {
    case LoadFault::kNone:
      return "none";
    case LoadFault::kCancel:
      return "cancel";
    case LoadFault::kDeadline:
      return "deadline";
    case LoadFault::kSlowReader:
      return "slow reader";
    case LoadFault::kMalformed:
      return "malformed";
  }
  return "unknown";
}

Outcomes outcomes_of(const Judged& requests) {
  Outcomes outcomes;
  for (const RequestRecord* record : requests) {
    ++outcomes.asked;
    outcomes.more_attempts += record->more_attempts;
    if (record->more_attempts > 0) {
      ++outcomes.retried;
      outcomes.retried_completed += completed(*record) ? 1 : 0;
      outcomes.moved += completed(*record) && record->target != record->first_target ? 1 : 0;
    }
    outcomes.lost += is_lost(*record) ? 1 : 0;
    if (is_cut(*record)) {
      ++outcomes.cut;
    } else if (completed(*record)) {
      ++outcomes.completed;
    } else if (record->code == kOk) {
      ++outcomes.broken;
    } else {
      ++outcomes.failed;
      if (is_refusal(*record)) {
        ++(record->retry_hint ? outcomes.refused_with_hint : outcomes.refused_without_hint);
      }
    }
  }
  return outcomes;
}

std::vector<ErrorFigures> errors_of(const Judged& requests) {
  std::map<std::pair<int32_t, std::string>, ErrorFigures> errors;
  for (const RequestRecord* record : requests) {
    if (is_cut(*record) || completed(*record)) continue;
    ErrorFigures& error = errors[{record->code, record->reason}];
    error.code = record->code;
    error.reason = record->reason;
    if (error.count++ == 0) error.example = record->message;
    error.with_hint += record->retry_hint ? 1 : 0;
  }
  std::vector<ErrorFigures> all;
  for (auto& [key, error] : errors) all.push_back(std::move(error));
  std::ranges::stable_sort(all, std::greater<>(), &ErrorFigures::count);
  return all;
}

std::vector<EventFigures> events_of(const LoadRun& run) {
  std::vector<EventFigures> all;
  std::vector<Judged> ended(run.facts.events.size());
  for (const RequestRecord& record : run.records) {
    if (record.fault != LoadFault::kNone || record.end_ns < 0) continue;
    size_t last = ended.size();
    for (size_t i = 0; i < ended.size(); ++i) {
      const int64_t began_ns = run.facts.events[i].began_ns;
      if (began_ns >= 0 && began_ns <= record.end_ns) last = i;
    }
    if (last < ended.size()) ended[last].push_back(&record);
  }
  for (size_t i = 0; i < ended.size(); ++i) {
    all.push_back({run.facts.events[i], outcomes_of(ended[i])});
  }
  return all;
}

std::vector<FaultFigures> faults_of(std::span<const RequestRecord> records) {
  std::map<LoadFault, std::map<int32_t, int64_t>> ends;
  for (const RequestRecord& record : records) {
    if (!record.measured || record.fault == LoadFault::kNone) continue;
    ++ends[record.fault][is_cut(record) ? kCutCode : record.code];
  }
  std::vector<FaultFigures> all;
  for (const auto& [fault, codes] : ends) {
    FaultFigures& figures = all.emplace_back();
    figures.fault = fault;
    for (const auto& [code, count] : codes) {
      figures.asked += count;
      figures.codes.emplace_back(code, count);
    }
  }
  return all;
}

std::vector<NodeFigures> nodes_of(const Judged& requests) {
  // An address at which one node was heard is that node, for requests that no node answered too.
  std::map<std::string, std::set<std::string>> heard;
  for (const RequestRecord* record : requests) {
    if (!record->node_id.empty()) heard[record->target].insert(record->node_id);
  }
  std::map<std::string, Judged> by_node;
  for (const RequestRecord* record : requests) {
    if (record->sent_ns < 0) continue;  // no node had a part in it
    const std::set<std::string>& ids = heard[record->target];
    const bool at_one_node = record->node_id.empty() && ids.size() == 1;
    by_node[at_one_node               ? *ids.begin()
            : record->node_id.empty() ? record->target
                                      : record->node_id]
        .push_back(record);
  }
  std::vector<NodeFigures> nodes;
  for (const auto& [name, records] : by_node) {
    NodeFigures& node = nodes.emplace_back();
    node.name = name;
    node.outcomes = outcomes_of(records);
    std::vector<double> first_tokens;
    for (const RequestRecord* record : records) {
      node.output_tokens += arrived_tokens(*record);
      const std::optional<double> first = ttft_ms(*record);
      if (completed(*record) && first) first_tokens.push_back(*first);
    }
    const TokenFigures tokens = tokens_of(records);
    node.cached_share = share(tokens.cached, tokens.prompt);
    std::ranges::sort(first_tokens);
    node.ttft_p50_ms = quantile(first_tokens, 0.5);
    node.ttft_p99_ms = quantile(first_tokens, 0.99);
  }
  return nodes;
}

TokenFigures tokens_of(const Judged& requests) {
  TokenFigures tokens;
  for (const RequestRecord* record : requests) {
    if (record->code != kOk || is_cut(*record)) continue;
    const int64_t arrived = arrived_tokens(*record);
    if (record->completion_tokens >= 0 && record->completion_tokens != arrived) {
      ++tokens.disagreeing;
    }
    if (record->broken) continue;
    tokens.output += arrived;
    if (record->completion_tokens < 0) {
      ++tokens.without_usage;
      continue;
    }
    tokens.output_by_usage += record->completion_tokens;
    tokens.prompt += std::max(record->prompt_tokens, 0);
    tokens.cached += std::max(record->cached_tokens, 0);
    tokens.preemptions += std::max(record->preemptions, 0);
  }
  return tokens;
}

SessionFigures sessions_of(std::span<const RequestRecord> records) {
  SessionFigures figures;
  std::map<int64_t, std::vector<const RequestRecord*>> sessions;
  struct Got {
    double tokens = 0;
    double seconds = 0;
  };
  std::map<std::pair<int64_t, int64_t>, Got> got;  // by session; by number where there is none
  for (const RequestRecord& record : records) {
    if (record.session >= 0) sessions[record.session].push_back(&record);
    if (!is_judged(record) || !completed(record)) continue;
    const bool alone = record.session < 0;
    Got& part = got[{record.session, alone ? record.number : -1}];
    part.tokens += static_cast<double>(arrived_tokens(record));
    part.seconds += e2e_ms(record).value_or(0) / 1e3;
  }
  for (auto& [session, turns] : sessions) {
    std::ranges::sort(turns, {}, &RequestRecord::turn);
    bool counts = false;
    for (size_t i = 0; i < turns.size(); ++i) {
      if (!is_judged(*turns[i])) continue;
      counts = true;
      ++figures.turns;
      if (i == 0 || turns[i]->node_id.empty() || turns[i - 1]->node_id.empty()) continue;
      ++figures.later_turns;
      if (turns[i]->node_id == turns[i - 1]->node_id) ++figures.same_node;
    }
    figures.sessions += counts ? 1 : 0;
  }
  std::vector<double> speeds;
  for (const auto& [who, part] : got) {
    if (part.seconds > 0) speeds.push_back(part.tokens / part.seconds);
  }
  figures.fairness = jain_fairness(speeds);
  return figures;
}

}  // namespace switchyard
