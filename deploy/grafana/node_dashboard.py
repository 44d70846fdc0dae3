"""One node in depth."""
from panels import Dashboard, Panel, Query, Row
from queries import (CODE_COLORS, GPU, LOAD_RUNS, MACHINES, MODEL, NAMESPACE, NODE, ONE_INSTANCE, PHASE_COLORS,
                     TOKEN_COLORS, alerts, cached_share, mean, mean_and_most, not_ready, quantile, quantiles, rate,
                     series, service_levels)

TRAFFIC = Row("Traffic", [
    Panel("Requests ended, by code", [Query(rate("requests_total", NODE, by="code") + " > 0", "{{code}}")], "reqps",
          "areas", colors=CODE_COLORS, says="Per second. Refusals are among them."),
    Panel("Tokens per second", [
        Query(rate("generation_tokens_total", NODE), "generated"),
        Query(rate("prompt_tokens_total", NODE, source="computed"), "prompt, computed"),
        Query(rate("prompt_tokens_total", NODE, source="cached"), "prompt, from the cache")], colors=TOKEN_COLORS),
    Panel("Refused and cancelled", [
        Query(rate("rejected_total", NODE, by="reason") + " > 0", "refused: {{reason}}"),
        Query(rate("cancelled_total", NODE, by="phase") + " > 0", "cancelled: {{phase}}")], "reqps", "areas",
          says="Cancelled: by the caller, its deadline or an operator, by what the answer was doing."),
    Panel("Prompt length", quantiles("request_prompt_tokens", NODE), says="In tokens."),
    Panel("Answer length", quantiles("request_generation_tokens", NODE), says="In tokens."),
    Panel("Calls by method", [
        Query(rate("grpc_server_started_total", NODE, by="service, method") + " > 0", "{{method}}")], "reqps",
          says="Every RPC, those of health probes and operators too."),
])

QUEUE = Row("Queue and batch", [
    Panel("Requests in the node", [
        Query(series("requests_running", NODE), "running"), Query(series("requests_waiting", NODE), "waiting"),
        Query(series("requests_in_flight", NODE), "accepted")], says="Accepted: counted where they come in, running "
          "and waiting by the engine. Accepted without either for long: the engine stands still."),
    Panel("Oldest wait", [Query(series("queue_oldest_wait_seconds", NODE), "oldest")], "s",
          says="What averages hide: a request that others overtake."),
    Panel("Prompt tokens not computed yet", [Query(series("queue_uncached_tokens", NODE), "tokens")],
          says="The work that waits."),
    Panel("Waiting, by priority", [Query(series("requests_waiting_by_priority", NODE), "{{class}}")], kind="areas"),
    Panel("Where a request's time goes", [
        Query(mean("request_queue_seconds", NODE), "queue"), Query(mean("request_prefill_seconds", NODE), "prefill"),
        Query(mean("request_decode_seconds", NODE), "decode")], "s", "areas", says="Means of answers that ended.",
          colors=PHASE_COLORS),
    Panel("Queue and prefill, p99", [
        Query(quantile(0.99, "request_queue_seconds", NODE), "queue"),
        Query(quantile(0.99, "request_prefill_seconds", NODE), "prefill")], "s",
          says="The two parts of the time to first token."),
])

CACHE = Row("Cache", [
    Panel("Cache in use", [Query(series("kv_cache_usage_ratio", NODE), "{{pool}}")], "percentunit", most=1, limit=0.9,
          says="Pool linear-state: slots of recurrent state, one for each running sequence."),
    Panel("Blocks", [Query(series("kv_blocks", NODE, pool="full"), "{{state}}")], kind="areas",
          colors={"active": "orange", "cached": "purple", "free": "green"}),
    Panel("Prompt tokens from the cache", [Query(cached_share(NODE), "share")], "percentunit", most=1),
    Panel("Preemptions", [Query(rate("preemptions_total", NODE), "per second")],
          says="Requests that lost their cache to others."),
    Panel("Tokens computed again", [Query(rate("recomputed_tokens_total", NODE), "per second")],
          says="Work that preemptions cost."),
    Panel("From cancel to free", quantiles("cancel_to_free_seconds", NODE), "s", limit=1,
          says="How long the cache of a cancelled answer stays taken. It should be a step."),
])

LAST_STEP = series("engine_last_step_timestamp_seconds", NODE)
SINCE_STEP = (f"clamp_min(timestamp({LAST_STEP}) - {LAST_STEP}, 0)"
              f" * ({series('requests_in_flight', NODE)} > bool 0)")
STEPS = Row("Engine steps", [
    Panel("Duration", [Query(f"sum by (le) (increase({series('step_seconds_bucket', NODE)}[$__rate_interval]))")], "s",
          "heatmap"),
    Panel("Duration by kind, p99", [Query(
        quantile(0.99, "step_seconds", NODE, by="kind"), "{{kind}}")], "s",
          says="decode: one token for each sequence; prefill: prompts; mixed: both."),
    Panel("Steps per second", [Query(rate("step_seconds_count", NODE, by="kind"), "{{kind}}")], kind="areas"),
    Panel("Tokens of a step", mean_and_most("step_tokens", NODE)),
    Panel("Sequences of a step", mean_and_most("step_sequences", NODE), says="The batch."),
    Panel("Since the last step", [Query(SINCE_STEP, "while there is work")], "s",
          says="0 while nothing is to be done. Of the scrape, so that it depends on both clocks."),
])

CALLERS = Row("Callers", [
    Panel("Open calls", [Query(series("grpc_server_open_calls", NODE) + " > 0", "{{method}}")], kind="areas",
          width=6),
    Panel("Bytes", [Query(rate("grpc_server_received_bytes_total", NODE), "received"),
                    Query(rate("grpc_server_sent_bytes_total", NODE), "sent")], "Bps", width=6,
          says="Messages, per second."),
    Panel("Streams held up by slow readers", [
        Query(rate("stream_backpressure_seconds_total", NODE), "streams")], width=6,
          says="Callers that read more slowly than tokens are made. Nobody else waits for them. Counted when a "
               "reader reads again."),
    Panel("Additions merged", [Query(rate("stream_coalesced_total", NODE), "per second")], width=6,
          says="For a slow reader several additions become one message."),
])

def facts(name, labels):
    # A table joins rows whose common columns are equal: the name of the metric must not be one.
    return f"max by (model_name, {labels}) ({series(name, NODE)})"


PROCESS = Row("Process", [
    Panel("State", [Query(series("node_state", NODE) + " == 1", "{{state}}")], kind="stat", width=4, height=6,
          names=True),
    Panel("Starting took", [Query(series("startup_seconds", NODE), "{{phase}}")], "s", "stat", width=8, height=6),
    Panel("What runs", [
        Query(facts("build_info", "version")),
        Query(facts("model_info", "architecture, backend, weight_bytes, max_context_tokens")),
        Query(facts("cache_config_info", "num_blocks, block_size, cache_dtype"))], kind="table", width=12, height=6,
          columns={"version": "Version", "model_name": "Model", "architecture": "Architecture", "backend": "Backend",
                   "weight_bytes": "Bytes of weights", "max_context_tokens": "Context", "num_blocks": "Cache blocks",
                   "block_size": "Tokens of a block", "cache_dtype": "Cache type"}),
])

NODE_DASHBOARD = Dashboard(
    "switchyard-node", "Switchyard: node", "One node: what its callers see first, then why.",
    [NAMESPACE, MODEL, ONE_INSTANCE, MACHINES],
    [service_levels(NODE), TRAFFIC, QUEUE, CACHE, STEPS, CALLERS, PROCESS, GPU],
    [not_ready(NODE), alerts(NODE), LOAD_RUNS])
