#include "client/load/figures.h"

#include <algorithm>
#include <map>
#include <set>

#include "client/load/rates.h"
#include "client/load/shares.h"

namespace switchyard {
namespace {

Latencies latencies_of(const Judged& requests, uint64_t seed) {
  Samples ttft;
  Samples tpot;
  Samples itl;
  Samples e2e;
  for (const RequestRecord* record : requests) {
    if (!completed(*record)) continue;
    if (const auto value = ttft_ms(*record)) ttft.add(*value);
    if (const auto value = tpot_ms(*record)) tpot.add(*value);
    if (const auto value = e2e_ms(*record)) e2e.add(*value);
    each_gap(*record, [&itl](double gap_ms, const TokenArrival& arrival) {
      itl.add_to_group(gap_ms, static_cast<size_t>(arrival.tokens));
    });
    itl.end_group();
  }
  return {.ttft_ms = describe(ttft, seed),
          .tpot_ms = describe(tpot, seed),
          .itl_ms = describe(itl, seed),
          .e2e_ms = describe(e2e, seed)};
}

// Where the time to the first token went.
void add_parts(const Judged& requests, uint64_t seed, Figures& figures) {
  Samples delay;
  Samples queue;
  Samples node;
  Samples outside;
  for (const RequestRecord* record : requests) {
    if (!completed(*record)) continue;
    delay.add(static_cast<double>(record->sent_ns - record->intended_ns) / 1e6);
    if (record->queue_seconds >= 0) queue.add(record->queue_seconds * 1e3);
    if (record->first_token_seconds < 0) continue;
    node.add(record->first_token_seconds * 1e3);
    if (const auto first = ttft_ms(*record)) {
      const double sent_ms = static_cast<double>(record->sent_ns - record->intended_ns) / 1e6;
      outside.add(*first - sent_ms - record->first_token_seconds * 1e3);
    }
  }
  figures.send_delay_ms = describe(delay, seed);
  figures.queue_ms = describe(queue, seed);
  figures.node_ttft_ms = describe(node, seed);
  figures.outside_ttft_ms = describe(outside, seed);
}

// Which requests were good, and goodput from that.
class Judgement {
 public:
  Judgement(const LoadRun& run, const Objectives& objectives)
      : run_(run), objectives_(objectives), span_(measured_span(run)), good_(run.records.size()) {
    for (size_t i = 0; i < run.records.size(); ++i) {
      const RequestRecord& record = run.records[i];
      good_[i] = record.fault == LoadFault::kNone && completed(record) &&
                 keeps(objectives.of(record.class_name), record);
    }
  }

  [[nodiscard]] Goodput of_class(const std::string& name) const {
    Goodput goodput =
        of([&name](const RequestRecord& record) { return record.class_name == name; });
    goodput.slo = objectives_.of(name);
    return goodput;
  }
  [[nodiscard]] Goodput of_all() const {
    return of([](const RequestRecord&) { return true; });
  }

 private:
  template <typename Counts>
  [[nodiscard]] Goodput of(const Counts& counts) const {
    Goodput goodput;
    int64_t asked = 0;
    RateCounter requests(span_);
    RateCounter tokens(span_);
    for (size_t i = 0; i < good_.size(); ++i) {
      const RequestRecord& record = run_.records[i];
      if (!counts(record)) continue;
      if (is_judged(record) && !is_cut(record)) {
        ++asked;
        goodput.good += good_[i] ? 1 : 0;
      }
      if (!good_[i]) continue;
      requests.add(record.end_ns, 1);
      tokens.add(record.end_ns, static_cast<double>(arrived_tokens(record)));
    }
    goodput.share = asked > 0 ? static_cast<double>(goodput.good) / static_cast<double>(asked) : 0;
    goodput.per_second = requests.per_second(run_.facts.seed);
    goodput.tokens_per_second = tokens.per_second(run_.facts.seed);
    return goodput;
  }

  const LoadRun& run_;
  const Objectives& objectives_;
  const Span span_;
  std::vector<bool> good_;  // by record
};

std::vector<ClassFigures> classes_of(const Judged& requests,
                                     const LoadRun& run,
                                     const Objectives& objectives,
                                     const Judgement& judgement) {
  std::map<std::string, Judged> by_class;
  for (const RequestRecord* record : requests) by_class[record->class_name].push_back(record);
  std::vector<ClassFigures> classes;
  for (const auto& [name, records] : by_class) {
    ClassFigures& figures = classes.emplace_back();
    figures.name = name;
    figures.outcomes = outcomes_of(records);
    figures.latencies = latencies_of(records, run.facts.seed);
    if (!objectives.of(name).empty()) figures.goodput = judgement.of_class(name);
  }
  return classes;
}

Judged judged_of(const LoadRun& run) {
  Judged requests;
  for (const RequestRecord& record : run.records) {
    if (is_judged(record)) requests.push_back(&record);
  }
  return requests;
}

std::string percent(double share) {
  char text[16];
  std::snprintf(text, sizeof text, "%.2f %%", share * 100);
  return text;
}

}  // namespace

Figures figures_of(const LoadRun& run, const Objectives& objectives) {
  const Judged requests = judged_of(run);
  const Judgement judgement(run, objectives);
  Figures figures;
  figures.outcomes = outcomes_of(requests);
  figures.latencies = latencies_of(requests, run.facts.seed);
  add_parts(requests, run.facts.seed, figures);
  figures.rates = rates_of(run);
  figures.tokens = tokens_of(requests);
  if (!objectives.empty()) figures.goodput = judgement.of_all();
  figures.classes = classes_of(requests, run, objectives, judgement);
  figures.errors = errors_of(requests);
  figures.faults = faults_of(run.records);
  figures.nodes = nodes_of(requests);
  figures.sessions = sessions_of(run.records);
  figures.events = events_of(run);
  return figures;
}

std::vector<NamedDistribution> named_distributions(const Latencies& latencies) {
  return {{"ttft_ms", "TTFT", latencies.ttft_ms},
          {"tpot_ms", "TPOT", latencies.tpot_ms},
          {"itl_ms", "ITL", latencies.itl_ms},
          {"e2e_ms", "E2E", latencies.e2e_ms}};
}

std::vector<NamedDistribution> named_distributions(const Figures& figures) {
  std::vector<NamedDistribution> all = named_distributions(figures.latencies);
  all.push_back({"queue_ms", "node's queue", figures.queue_ms});
  all.push_back({"node_ttft_ms", "TTFT by node", figures.node_ttft_ms});
  all.push_back({"outside_ttft_ms", "TTFT outside", figures.outside_ttft_ms});
  all.push_back({"send_delay_ms", "client's delay", figures.send_delay_ms});
  return all;
}

SweepVerdict sweep_verdict(const LoadRun& run, const Objectives& objectives) {
  if (!run.facts.lateness.tolerable()) {
    return {false, "the client was late itself"};
  }
  const Judgement judgement(run, objectives);
  std::set<std::string> names;
  for (const RequestRecord* record : judged_of(run)) names.insert(record->class_name);
  if (names.empty()) return {false, "no request was measured"};
  SweepVerdict verdict{true, ""};
  for (const std::string& name : names) {
    const Goodput goodput = judgement.of_class(name);
    const bool met = goodput.share >= objectives.good_share;
    if (verdict.met && !met) verdict = {false, ""};
    if (verdict.met != met) continue;
    verdict.why += (verdict.why.empty() ? "" : ", ") + name + ": " + percent(goodput.share) +
                   " good, " + percent(objectives.good_share) + " wanted";
  }
  return verdict;
}

}  // namespace switchyard
