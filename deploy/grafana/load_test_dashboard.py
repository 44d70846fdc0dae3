"""The servers' side of a load run. Set the time range to the run (the marks "Load runs" help): the
first rows are of that whole range, to stand beside the load tester's own report."""
from panels import Dashboard, Panel, Query, Row
from queries import (BLOCK_POOLS, CODE_COLORS, FIRST_TOKEN_SECONDS, GPU, INSTANCES, LOAD_RUNS, MACHINES, MODEL,
                     NAMESPACE, NODE, PHASE_COLORS, TOKEN_COLORS, TOKEN_SECONDS, alerts, mean, mean_and_most,
                     not_ready, quantile, quantiles, rate, series, service_levels)

WHOLE = "increase({}[$__range])"


def total(name, **labels):
    return f"sum(increase({series(name, NODE, **labels)}[$__range]))"


def counted(name, legend, **labels):
    return Query(f"round({total(name, **labels)})", legend)


def over_range(name):
    return [Query(quantile(share, name, NODE, over=WHOLE), f"p{100 * share:g}") for share in (0.5, 0.9, 0.99)]


def mean_over_range(name):
    return f"{total(name + '_sum')} / {total(name + '_count')}"


RUN = Row("The whole range", [
    Panel("Requests", [counted("requests_total", "ended"), counted("requests_total", "ended well", code="OK"),
                       counted("rejected_total", "refused"), counted("cancelled_total", "cancelled")],
          "locale", "stat", width=12, height=5, says="Prometheus extrapolates to the range's ends: near, not exact."),
    Panel("Tokens", [counted("generation_tokens_total", "generated"),
                     counted("prompt_tokens_total", "prompt, computed", source="computed"),
                     counted("prompt_tokens_total", "prompt, from the cache", source="cached")],
          "locale", "stat", width=12, height=5),
    Panel("Time to first token", over_range("time_to_first_token_seconds"), "s", "stat", height=5,
          says="From arrival at the node, without the way there. Interpolated within buckets."),
    Panel("Between tokens", over_range("inter_token_latency_seconds"), "s", "stat", height=5),
    Panel("Whole answers", over_range("e2e_request_latency_seconds"), "s", "stat", height=5),
    Panel("Most at once", [Query(f"max_over_time(sum({series('requests_running', NODE)})[$__range:])", "running"),
                           Query(f"max_over_time(sum({series('requests_waiting', NODE)})[$__range:])", "waiting")],
          kind="stat", height=5),
    Panel("Fullest cache", [Query(
        f"max(max_over_time({series('kv_cache_usage_ratio', NODE, BLOCK_POOLS)}[$__range]))", "in use")],
          "percentunit", "stat", height=5, limit=0.9),
    Panel("Per answer", [Query(mean_over_range("request_prompt_tokens"), "prompt"),
                         Query(mean_over_range("request_generation_tokens"), "answer")], kind="stat", height=5,
          says="Tokens, mean of answers that ended well."),
])

OVER_TIME = Row("Over time", [
    Panel("Requests ended, by code", [Query(rate("requests_total", NODE, by="code") + " > 0", "{{code}}")], "reqps",
          "areas", colors=CODE_COLORS),
    Panel("Tokens per second", [Query(rate("generation_tokens_total", NODE), "generated"),
                                Query(rate("prompt_tokens_total", NODE, source="computed"), "prompt, computed"),
                                Query(rate("prompt_tokens_total", NODE, source="cached"), "prompt, from the cache")],
          colors=TOKEN_COLORS),
    Panel("Goodput", [
        Query(rate("inter_token_latency_seconds_count", NODE), "tokens"),
        Query(rate("inter_token_latency_seconds_bucket", NODE, le=TOKEN_SECONDS), "tokens in time")],
          says=f"In time: within {TOKEN_SECONDS} s of the one before. Where the lines part, more load helps nobody."),
    Panel("Requests in the nodes", [Query(f"sum({series('requests_running', NODE)})", "running"),
                                    Query(f"sum({series('requests_waiting', NODE)})", "waiting")], kind="areas",
          says="A queue that grows for as long as the run lasts: the rate is more than the nodes can do."),
    Panel("Oldest wait", [Query(series("queue_oldest_wait_seconds", NODE), "{{instance}}")], "s",
          limit=FIRST_TOKEN_SECONDS),
    Panel("Refused and cancelled", [
        Query(rate("rejected_total", NODE, by="reason") + " > 0", "refused: {{reason}}"),
        Query(rate("cancelled_total", NODE, by="phase") + " > 0", "cancelled: {{phase}}")], "reqps", "areas"),
    Panel("Where a request's time goes", [
        Query(mean("request_queue_seconds", NODE), "queue"), Query(mean("request_prefill_seconds", NODE), "prefill"),
        Query(mean("request_decode_seconds", NODE), "decode")], "s", "areas", colors=PHASE_COLORS),
    Panel("Per token of an answer", quantiles("request_time_per_output_token_seconds", NODE), "s",
          says="The mean of each answer after its first token."),
    Panel("Cache in use", [
        Query(series("kv_cache_usage_ratio", NODE, BLOCK_POOLS), "{{instance}} {{pool}}")], "percentunit", most=1,
          limit=0.9),
])

ENGINE = Row("Engine", [
    Panel("Step duration", [Query(f"sum by (le) (increase({series('step_seconds_bucket', NODE)}[$__rate_interval]))")],
          "s", "heatmap"),
    Panel("Step duration by kind, mean", [Query(mean("step_seconds", NODE, by="kind"), "{{kind}}")], "s"),
    Panel("Time in steps", [Query(rate("step_seconds_sum", NODE, by="instance"), "{{instance}}")], "percentunit",
          says="Share of the time in which an engine computes. Steps overlap, so that it may exceed 100%."),
    Panel("Sequences of a step", mean_and_most("step_sequences", NODE)),
    Panel("Tokens of a step", mean_and_most("step_tokens", NODE)),
    Panel("Tokens computed again", [Query(rate("recomputed_tokens_total", NODE, by="instance"), "{{instance}}")],
          says="Per second, after requests lost their cache to others: the cache is too small for this load."),
    Panel("Streams held up by slow readers", [
        Query(rate("stream_backpressure_seconds_total", NODE, by="instance"), "{{instance}}")],
          says="If the load tester means to be fast, it is not."),
    Panel("From cancel to free", quantiles("cancel_to_free_seconds", NODE), "s"),
    Panel("Bytes sent", [Query(rate("grpc_server_sent_bytes_total", NODE, by="instance"), "{{instance}}")], "Bps"),
])

LOAD_TEST_DASHBOARD = Dashboard(
    "switchyard-load-test", "Switchyard: load test", "What the servers saw of a load run.",
    [NAMESPACE, MODEL, INSTANCES, MACHINES], [service_levels(NODE), RUN, OVER_TIME, ENGINE, GPU],
    [LOAD_RUNS, not_ready(NODE), alerts(NODE)], span="now-15m", refresh="5s")
