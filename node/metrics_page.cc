#include "node/metrics_page.h"

#include <initializer_list>
#include <string_view>
#include <utility>

#include "node/page_writer.h"
#include "node/version.h"

namespace switchyard {
namespace {

using Page = PageWriter;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr std::array<std::string_view, kPriorityClasses> kPriorityClassNames = {"low", "normal",
                                                                                "high"};
// Recurrent state, which every sequence has one slot of.
constexpr std::string_view kStatePool = "linear-state";

double usage(int64_t total, int64_t free) {
  return total == 0 ? 0.0 : static_cast<double>(total - free) / static_cast<double>(total);
}

void write_load(Page& page, const EngineLoad& load) {
  page.one_gauge({"requests_running", "Requests scheduled and not ended", "num_requests_running"},
                 load.running);
  page.one_gauge({"requests_waiting", "Requests that wait to be scheduled", "num_requests_waiting"},
                 load.waiting);
  page.family({"requests_waiting_by_priority", "The same, by priority: below 0, 0, above", ""},
              MetricType::Gauge);
  for (size_t i = 0; i < kPriorityClasses; ++i) {
    page.gauge(load.waiting_by_class[i], {{"class", kPriorityClassNames[i]}});
  }
  page.one_gauge({"queue_uncached_tokens", "Prompt tokens not computed yet", ""},
                 static_cast<double>(load.waiting_prompt_tokens));
  page.one_gauge({"queue_oldest_wait_seconds", "Wait so far of the oldest waiting request", ""},
                 seconds(load.oldest_wait));

  page.family({"kv_cache_usage_ratio", "Share of the cache in use", ""}, MetricType::Gauge);
  page.gauge(usage(load.kv_blocks_total, load.kv_blocks_free), {{"pool", "full"}});
  if (load.state_slots_total > 0) {
    page.gauge(usage(load.state_slots_total, load.state_slots_free), {{"pool", kStatePool}});
  }
  page.family({"kv_blocks",
               "Cache blocks (pool full) and slots of recurrent state (pool linear-state)", ""},
              MetricType::Gauge);
  const auto blocks = [&page](std::string_view pool, int64_t total, int64_t free) {
    page.gauge(static_cast<double>(free), {{"pool", pool}, {"state", "free"}});
    page.gauge(static_cast<double>(total - free), {{"pool", pool}, {"state", "active"}});
  };
  blocks("full", load.kv_blocks_total, load.kv_blocks_free);
  if (load.state_slots_total > 0) blocks(kStatePool, load.state_slots_total, load.state_slots_free);
  page.vllm_family("kv_cache_usage_perc", "Share of the cache in use", MetricType::Gauge);
  page.gauge(usage(load.kv_blocks_total, load.kv_blocks_free));
}

void write_facts(Page& page, const ServedFacts& facts) {
  const std::string block_tokens = std::to_string(facts.kv_block_tokens);
  const std::string blocks = std::to_string(facts.kv_blocks);
  page.family({"cache_config_info", "Shape of the cache", "cache_config_info"}, MetricType::Gauge);
  page.gauge(1, {{"block_size", block_tokens},
                 {"num_blocks", blocks},
                 {"num_gpu_blocks", blocks},  // vLLM's name for the same, whatever the device
                 {"cache_dtype", facts.kv_type},
                 {"policy", "full"}});  // every token is kept
  const std::string context_tokens = std::to_string(facts.max_context_tokens);
  const std::string weight_bytes = std::to_string(facts.weight_bytes);
  page.family({"model_info", "What is served", ""}, MetricType::Gauge);
  page.gauge(1, {{"architecture", facts.architecture},
                 {"backend", facts.backend},
                 {"max_context_tokens", context_tokens},
                 {"weight_bytes", weight_bytes}});
}

void write_requests(Page& page, const Metrics& metrics) {
  page.family({"requests_total", "Ended calls that asked for an answer", ""}, MetricType::Counter);
  for (size_t method = 0; method < kAnswerMethodNames.size(); ++method) {
    const std::string_view name = kAnswerMethodNames[method];
    for (size_t reason = 0; reason < kFinishReasonNames.size(); ++reason) {
      page.counter(
          static_cast<double>(metrics.finished[method][reason]),
          {{"method", name}, {"code", "OK"}, {"finish_reason", kFinishReasonNames[reason]}});
    }
    for (size_t code = 1; code < kCodeNames.size(); ++code) {
      if (kCodeNames[code].empty()) continue;
      page.counter(static_cast<double>(metrics.failed[method][code]),
                   {{"method", name}, {"code", kCodeNames[code]}, {"finish_reason", "none"}});
    }
  }
  page.family({"rejected_total", "Calls refused before the engine", ""}, MetricType::Counter);
  for (size_t i = 0; i < kRejectionReasons.size(); ++i) {
    page.counter(static_cast<double>(metrics.rejected[i]), {{"reason", kRejectionReasons[i]}});
  }
  page.family({"cancelled_total", "Answers ended from outside, by what they were doing", ""},
              MetricType::Counter);
  constexpr std::array<std::string_view, 3> kPhases = {"queued", "prefill", "decode"};
  for (size_t i = 0; i < kPhases.size(); ++i) {
    page.counter(static_cast<double>(metrics.cancelled[i]), {{"phase", kPhases[i]}});
  }
}

// vLLM counts only what ended well, under its own names of the reasons.
void write_vllm_success(Page& page, const Metrics& metrics) {
  const auto sum = [&metrics](std::initializer_list<FinishReason> reasons) {
    uint64_t total = 0;
    for (const auto& method : metrics.finished) {
      for (const FinishReason reason : reasons) total += method[static_cast<size_t>(reason)];
    }
    return static_cast<double>(total);
  };
  page.vllm_family("request_success_total", "Answers that ended well", MetricType::Counter);
  page.counter(sum({FinishReason::kEos, FinishReason::kStopToken, FinishReason::kStopString}),
               {{"finished_reason", "stop"}});
  page.counter(sum({FinishReason::kMaxTokens, FinishReason::kContextLimit}),
               {{"finished_reason", "length"}});
}

void write_tokens(Page& page, const Metrics& metrics) {
  page.family({"prompt_tokens_total", "Prompt tokens of answers", "prompt_tokens_total"},
              MetricType::Counter);
  page.counter(static_cast<double>(metrics.prompt_tokens_computed), {{"source", "computed"}});
  page.counter(static_cast<double>(metrics.prompt_tokens_cached), {{"source", "cached"}});
  page.one_counter({"generation_tokens_total", "Tokens of answers", "generation_tokens_total"},
                   static_cast<double>(metrics.generation_tokens));
  page.one_counter({"preemptions_total", "Requests that lost their cache to others", ""},
                   static_cast<double>(metrics.preemptions));
  page.one_counter({"recomputed_tokens_total", "Tokens computed again after a preemption", ""},
                   static_cast<double>(metrics.recomputed_tokens));
}

void write_latencies(Page& page, const Metrics& m) {
  page.one_histogram(
      {"time_to_first_token_seconds", "Arrival to first token", "time_to_first_token_seconds"},
      m.time_to_first_token);
  page.one_histogram({"inter_token_latency_seconds", "Between tokens of one answer, once per token",
                      "inter_token_latency_seconds"},
                     m.inter_token_latency);
  page.one_histogram(
      {"request_time_per_output_token_seconds", "Mean of one answer after its first", ""},
      m.time_per_output_token);
  page.one_histogram(
      {"e2e_request_latency_seconds", "Arrival to end", "e2e_request_latency_seconds"},
      m.end_to_end);
  page.one_histogram({"request_queue_seconds", "Arrival to first scheduled", ""}, m.queue);
  page.one_histogram({"request_prefill_seconds", "First scheduled to first token", ""}, m.prefill);
  page.one_histogram({"request_decode_seconds", "First token to last", ""}, m.decode);
  page.one_histogram({"cancel_to_free_seconds", "Cancel to cache freed", ""}, m.cancel_to_free);
  page.one_histogram({"request_prompt_tokens", "Prompt tokens of one answer", ""},
                     m.request_prompt_tokens);
  page.one_histogram({"request_generation_tokens", "Tokens of one answer", ""},
                     m.request_generation_tokens);
}

void write_rpcs(Page& page, const RpcTable& rpcs) {
  const auto each = [&](const Page::Name& name, MetricType type, const auto& write) {
    page.family(name, type);
    for (size_t i = 0; i < kRpcs.size(); ++i) {
      write(rpcs[i], Page::Labels{{"service", kRpcs[i].service}, {"method", kRpcs[i].method}});
    }
  };
  each({"grpc_server_started_total", "Calls begun", ""}, MetricType::Counter,
       [&](const RpcCounts& rpc, const auto& labels) { page.counter(rpc.started, labels); });
  each({"grpc_server_received_bytes_total", "Messages of callers", ""}, MetricType::Counter,
       [&](const RpcCounts& rpc, const auto& labels) { page.counter(rpc.received_bytes, labels); });
  each({"grpc_server_sent_bytes_total", "Messages to callers", ""}, MetricType::Counter,
       [&](const RpcCounts& rpc, const auto& labels) { page.counter(rpc.sent_bytes, labels); });
  each({"grpc_server_open_calls", "Calls begun and not ended", ""}, MetricType::Gauge,
       [&](const RpcCounts& rpc, const auto& labels) {
         page.gauge(static_cast<double>(rpc.open), labels);
       });
  page.family({"grpc_server_handled_total", "Calls ended, by code", ""}, MetricType::Counter);
  for (size_t i = 0; i < kRpcs.size(); ++i) {
    for (size_t code = 0; code < kCodeNames.size(); ++code) {
      const uint64_t count = rpcs[i].handled[code];
      if (count == 0 && !may_end_with(kRpcs[i].kind, static_cast<Code>(code))) continue;
      page.counter(
          count,
          {{"service", kRpcs[i].service}, {"method", kRpcs[i].method}, {"code", kCodeNames[code]}});
    }
  }
}

// Only of what this node was told to use.
void write_credentials(Page& page, const Metrics& metrics, const CredentialsInUse& in_use) {
  if (in_use.certificate) {
    page.one_gauge({"tls_certificate_not_after_timestamp_seconds",
                    "When the first certificate of those in use expires, Unix time", ""},
                   metrics.certificate_not_after_unix_seconds);
  }
  if (!in_use.certificate && !in_use.tokens) return;
  page.family({"credential_reloads_total", "Changed files read again, by what came of it", ""},
              MetricType::Counter);
  for (size_t file = 0; file < kReloadedFileNames.size(); ++file) {
    for (size_t outcome = 0; outcome < kReloadNames.size(); ++outcome) {
      page.counter(metrics.reloads[file][outcome],
                   {{"file", kReloadedFileNames[file]}, {"outcome", kReloadNames[outcome]}});
    }
  }
}

void write_steps(Page& page, const Metrics& metrics) {
  page.family({"step_seconds", "Duration of engine steps", ""}, MetricType::Histogram);
  page.histogram(metrics.prefill_step, {{"kind", "prefill"}});
  page.histogram(metrics.decode_step, {{"kind", "decode"}});
  page.histogram(metrics.mixed_step, {{"kind", "mixed"}});
  page.one_histogram({"step_tokens", "Tokens of one step", ""}, metrics.step_tokens);
  page.one_histogram({"step_sequences", "Sequences of one step", ""}, metrics.step_sequences);
  page.one_gauge({"engine_last_step_timestamp_seconds", "End of the last step, Unix time", ""},
                 metrics.last_step_unix_seconds);
  page.one_counter({"engine_steps_total", "Steps since the start", ""},
                   static_cast<double>(metrics.steps));
}

void write_node(Page& page, const Metrics& metrics, NodeState state) {
  page.one_counter({"stream_backpressure_seconds_total", "Time that outboxes were full", ""},
                   seconds(Duration(metrics.backpressure_nanoseconds)));
  page.one_counter({"stream_coalesced_total", "Additions merged because a reader was slow", ""},
                   static_cast<double>(metrics.coalesced_deltas));
  page.family({"node_state", "1 for the state the node is in", ""}, MetricType::Gauge);
  for (size_t i = 0; i < kNodeStateNames.size(); ++i) {
    page.gauge(static_cast<size_t>(state) == i ? 1 : 0, {{"state", kNodeStateNames[i]}});
  }
  page.family({"startup_seconds", "What starting took, by phase", ""}, MetricType::Gauge);
  page.gauge(metrics.load_seconds, {{"phase", "load"}});
  page.gauge(metrics.warm_up_seconds, {{"phase", "warm_up"}});
  page.family({"build_info", "What is running", ""}, MetricType::Gauge);
  page.gauge(1, {{"version", kVersion}});
}

}  // namespace

MetricsPage::MetricsPage(const Metrics& metrics, Sources sources)
    : metrics_(metrics), sources_(std::move(sources)) {}

std::vector<MetricFamily> MetricsPage::Collect() const {
  Page page(sources_.model_name, sources_.vllm_names);
  page.one_gauge({"requests_in_flight",
                  "Requests accepted and not ended, counted where they are accepted", ""},
                 sources_.in_flight());
  if (const auto load = sources_.load()) write_load(page, *load);
  if (const auto facts = sources_.facts()) write_facts(page, *facts);
  write_requests(page, metrics_);
  write_vllm_success(page, metrics_);
  write_tokens(page, metrics_);
  write_latencies(page, metrics_);
  write_rpcs(page, metrics_.rpcs);
  write_steps(page, metrics_);
  write_node(page, metrics_, sources_.state());
  write_credentials(page, metrics_, sources_.credentials);
  return page.take();
}

}  // namespace switchyard
