"""All nodes that serve a model: is there enough of them, do they share the load, which one is odd."""
from panels import Dashboard, Panel, Query, Row
from queries import (BLOCK_POOLS, CODE_COLORS, FLEET, GPU, INSTANCES, LOAD_RUNS, MACHINES, MODEL, NAMESPACE, NODE,
                     STATE_COLORS, alerts, cached_share, failed_share, quantile, rate, series, service_levels)

READY = series("node_state", FLEET, state="ready")
NODES = Row("Nodes", [
    Panel("Ready nodes", [Query(f"sum({READY})", "ready"), Query(f"count({READY})", "known")], kind="stat",
          width=4, limit=1, worse="below"),
    Panel("Nodes by state", [Query(f"sum by (state) ({series('node_state', FLEET)})", "{{state}}")], kind="areas",
          width=10, colors=STATE_COLORS),
    Panel("Firing alerts", [Query('ALERTS{alertname=~"Switchyard.+", alertstate="firing"}')], kind="table", width=10,
          columns={"alertname": "Alert", "severity": "Severity", "model_name": "Model", "instance": "Node"}),
    Panel("Each node", [
        Query(f"max by (instance, version) ({series('build_info', FLEET)})"),
        Query(f"max by (instance, state) ({series('node_state', FLEET)} == 1)"),
        Query(f"max by (instance) ({series('requests_running', FLEET)})"),
        Query(f"max by (instance) ({series('requests_waiting', FLEET)})"),
        Query(f"max by (instance) ({series('kv_cache_usage_ratio', FLEET, BLOCK_POOLS)})")],
          kind="table", width=24, height=7,
          columns={"instance": "Node", "version": "Version", "state": "State", "Value #C": "Running",
                   "Value #D": "Waiting", "Value #E": "Cache in use"},
          units={"Cache in use": "percentunit"}),
])

TRAFFIC = Row("Traffic", [
    Panel("Requests ended, by code", [Query(rate("requests_total", NODE, by="code") + " > 0", "{{code}}")], "reqps",
          "areas", colors=CODE_COLORS),
    Panel("Failed requests, by node", [Query(failed_share(NODE, by="instance"), "{{instance}}")], "percentunit"),
    Panel("Refused, by reason", [Query(rate("rejected_total", NODE, by="reason") + " > 0", "{{reason}}")], "reqps",
          "areas"),
    Panel("Tokens generated per second", [Query(rate("generation_tokens_total", NODE, by="instance"), "{{instance}}")],
          kind="areas"),
    Panel("Prompt tokens computed per second", [
        Query(rate("prompt_tokens_total", NODE, source="computed", by="instance"), "{{instance}}")], kind="areas"),
    Panel("Prompt tokens from the cache", [Query(cached_share(NODE, by="instance"), "{{instance}}")], "percentunit",
          most=1, says="Drops when sessions land on other nodes than before."),
])

RUNNING = f"avg_over_time({series('requests_running', NODE)}[5m])"
SHARES = Row("How the load is shared", [
    Panel("Running", [Query(series("requests_running", NODE), "{{instance}}")]),
    Panel("Waiting", [Query(series("requests_waiting", NODE), "{{instance}}")]),
    Panel("Prompt tokens not computed yet", [Query(series("queue_uncached_tokens", NODE), "{{instance}}")],
          says="The best single measure of a node's load."),
    Panel("Oldest wait", [Query(series("queue_oldest_wait_seconds", NODE), "{{instance}}")], "s"),
    Panel("Cache in use", [
        Query(series("kv_cache_usage_ratio", NODE, BLOCK_POOLS), "{{instance}} {{pool}}")], "percentunit", most=1,
          limit=0.9),
    Panel("Busiest node over the mean", [Query(f"max({RUNNING}) / avg({RUNNING})", "running, over 5 minutes")],
          says="1 is even. Callers that keep one connection to one address make it high."),
])

SPEED = Row("Which node is odd", [
    Panel("Time to first token, p99", [
        Query(quantile(0.99, "time_to_first_token_seconds", NODE, by="instance"), "{{instance}}")], "s"),
    Panel("Between tokens, p99", [
        Query(quantile(0.99, "inter_token_latency_seconds", NODE, by="instance"), "{{instance}}")], "s"),
    Panel("Decode steps, p50", [
        Query(quantile(0.5, "step_seconds", NODE, by="instance", kind="decode"), "{{instance}}")], "s",
          says="The same model on the same hardware at the same batch should take the same time."),
    Panel("Preemptions per second", [Query(rate("preemptions_total", NODE, by="instance"), "{{instance}}")]),
    Panel("Streams held up by slow readers", [
        Query(rate("stream_backpressure_seconds_total", NODE, by="instance"), "{{instance}}")]),
    Panel("Restarts within an hour", [Query(f"resets({series('engine_steps_total', NODE)}[1h])", "{{instance}}")],
          "none"),
])

FLEET_DASHBOARD = Dashboard(
    "switchyard-fleet", "Switchyard: fleet", "All nodes of a model together, and each beside the others.",
    [NAMESPACE, MODEL, INSTANCES, MACHINES], [service_levels(NODE), NODES, TRAFFIC, SHARES, SPEED, GPU],
    [alerts(FLEET), LOAD_RUNS], span="now-3h", refresh="30s")
