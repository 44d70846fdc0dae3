"""Expressions that several dashboards use, and the objectives they are held against."""
from panels import RATE, Annotation, Panel, Query, Row, Variable

FIRST_TOKEN_SECONDS = 2.5  # of service_levels.yaml and recording.yaml; both are bounds of buckets
TOKEN_SECONDS = 0.1
FAILED_SHARE = 0.001
FAILED = 'code=~"INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED"'
BLOCK_POOLS = 'pool=~"full|sliding"'  # not slots of recurrent state, which a full batch takes
SENT_ELSEWHERE = 'reason=~"draining|starting"'

CODE_COLORS = {"OK": "green", "CANCELLED": "blue", "INVALID_ARGUMENT": "purple", "RESOURCE_EXHAUSTED": "yellow",
               "UNAVAILABLE": "orange", "DEADLINE_EXCEEDED": "light-red", "INTERNAL": "dark-red"}
STATE_COLORS = {"ready": "green", "starting": "blue", "draining": "yellow", "stalled": "orange", "failed": "red"}
TOKEN_COLORS = {"generated": "green", "prompt, computed": "blue", "prompt, from the cache": "purple"}
PHASE_COLORS = {"queue": "yellow", "prefill": "blue", "decode": "green"}

FLEET = 'namespace=~"$namespace", model_name=~"$model_name"'
NODE = FLEET + ', instance=~"$instance"'

NAMESPACE = Variable("namespace", "Namespace", "label_values(switchyard_build_info, namespace)")
MODEL = Variable("model_name", "Model",
                 'label_values(switchyard_build_info{namespace=~"$namespace"}, model_name)')
INSTANCES = Variable("instance", "Nodes", f"label_values(switchyard_build_info{{{FLEET}}}, instance)")
ONE_INSTANCE = Variable("instance", "Node", INSTANCES.query, many=False)
# dcgm-exporter names machines in its label Hostname; scrape configurations put it in `node`.
MACHINES = Variable("machine", "Machines", f"label_values(switchyard_build_info{{{NODE}}}, node)")

LOAD_RUNS = Annotation("Load runs", "blue", tag="switchyard-load")


def not_ready(where):
    return Annotation("Not ready", "orange", f'switchyard_node_state{{{where}, state="ready"}} == 0',
                      "{{instance}} is not ready")


def alerts(where):
    return Annotation("Alerts", "red", f'ALERTS{{{where}, alertname=~"Switchyard.+", alertstate="firing"}}',
                      "{{alertname}}")


def series(name, where, *more, **labels):
    """switchyard_NAME with these matchers; `labels` are equal to what they are set to."""
    equal = [f'{label}="{value}"' for label, value in labels.items()]
    return f"switchyard_{name}{{{', '.join((where, *more, *equal))}}}"


def rate(name, where, *more, by="", **labels):
    by = f" by ({by})" if by else ""
    return f"sum{by} (rate({series(name, where, *more, **labels)}[{RATE}]))"


def mean(name, where, by=""):
    """Of a histogram."""
    return f"{rate(name + '_sum', where, by=by)} / {rate(name + '_count', where, by=by)}"


def quantile(share, name, where, by="", over=f"rate({{}}[{RATE}])", **labels):
    by = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({by}) ({over.format(series(name + '_bucket', where, **labels))}))"


def quantiles(name, where, shares=(0.5, 0.9, 0.99)):
    return [Query(quantile(share, name, where), f"p{100 * share:g}") for share in shares]


def mean_and_most(name, where):
    """Of counts: within a bucket a quantile of small numbers would be a fraction that never was."""
    return [Query(mean(name, where), "mean"), Query(quantile(0.99, name, where), "p99")]


def in_time_share(name, seconds, where):
    return f"{rate(name + '_bucket', where, le=seconds)} / {rate(name + '_count', where)}"


def cached_share(where, by=""):
    """Of the tokens of prompts."""
    return f"{rate('prompt_tokens_total', where, by=by, source='cached')} / {rate('prompt_tokens_total', where, by=by)}"


def failed_share(where, by=""):
    """As recording.yaml has it: without what a node refused because another should have it."""
    return (f"clamp_min({rate('requests_total', where, FAILED, by=by)}"
            f" - {rate('rejected_total', where, SENT_ELSEWHERE, by=by)}, 0) / {rate('requests_total', where, by=by)}")


def service_levels(where):
    """The row that every dashboard begins with."""
    late = "Dashed: the objective for 99% of them."
    return Row("Service levels", [
        Panel("Time to first token, p99", [Query(quantile(0.99, "time_to_first_token_seconds", where))], "s", "stat",
              width=4, height=5, limit=FIRST_TOKEN_SECONDS),
        Panel("Between tokens, p99", [Query(quantile(0.99, "inter_token_latency_seconds", where))], "s", "stat",
              width=4, height=5, limit=TOKEN_SECONDS),
        Panel("Answers begun in time",
              [Query(in_time_share("time_to_first_token_seconds", FIRST_TOKEN_SECONDS, where))],
              "percentunit", "stat", width=4, height=5, limit=0.99, worse="below",
              says=f"Share of first tokens within {FIRST_TOKEN_SECONDS} s of the request."),
        Panel("Tokens in time", [Query(in_time_share("inter_token_latency_seconds", TOKEN_SECONDS, where))],
              "percentunit", "stat", width=4, height=5, limit=0.99, worse="below",
              says=f"Share of tokens within {TOKEN_SECONDS} s of the one before."),
        Panel("Failed requests", [Query(failed_share(where))], "percentunit", "stat", width=4, height=5,
              limit=FAILED_SHARE,
              says="INTERNAL, UNAVAILABLE or DEADLINE_EXCEEDED. Callers' mistakes, cancels and refusals are none."),
        Panel("Goodput, tokens per second",
              [Query(rate("inter_token_latency_seconds_bucket", where, le=TOKEN_SECONDS))], "short", "stat",
              width=4, height=5, says="Tokens that came in time: what an overloaded node loses first."),
        Panel("Time to first token", quantiles("time_to_first_token_seconds", where), "s", limit=FIRST_TOKEN_SECONDS,
              says="From the arrival of a request. " + late),
        Panel("Between tokens", quantiles("inter_token_latency_seconds", where), "s", limit=TOKEN_SECONDS,
              says="Once per token, so that messages with several count as often. " + late),
        Panel("Whole answers", quantiles("e2e_request_latency_seconds", where), "s",
              says="Arrival to the last token. Long answers take long: no objective."),
    ])


GPU = Row("GPUs (dcgm-exporter)", [
    Panel("Utilisation", [Query('DCGM_FI_DEV_GPU_UTIL{Hostname=~"$machine"}', "{{Hostname}} {{gpu}}")], "percent",
          most=100, says="Share of time with any kernel running: high says little. See the next panels."),
    Panel("Active: tensor cores", [
        Query('DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{Hostname=~"$machine"}', "{{Hostname}} {{gpu}}")], "percentunit", most=1,
          says="What prompts are limited by."),
    Panel("Active: memory", [
        Query('DCGM_FI_PROF_DRAM_ACTIVE{Hostname=~"$machine"}', "{{Hostname}} {{gpu}}")], "percentunit", most=1,
          says="What decoding is limited by."),
    Panel("Active: any engine", [
        Query('DCGM_FI_PROF_GR_ENGINE_ACTIVE{Hostname=~"$machine"}', "{{Hostname}} {{gpu}}")], "percentunit", most=1),
    Panel("Memory", [Query('DCGM_FI_DEV_FB_USED{Hostname=~"$machine"}', "{{Hostname}} {{gpu}} used"),
                     Query('DCGM_FI_DEV_FB_FREE{Hostname=~"$machine"}', "{{Hostname}} {{gpu}} free")], "mbytes"),
    Panel("Power", [Query('DCGM_FI_DEV_POWER_USAGE{Hostname=~"$machine"}', "{{Hostname}} {{gpu}}")], "watt"),
    Panel("Clock", [Query('DCGM_FI_DEV_SM_CLOCK{Hostname=~"$machine"} * 1e6', "{{Hostname}} {{gpu}}")], "hertz",
          says="One that drops under load is hot or short of power."),
    Panel("Temperature", [Query('DCGM_FI_DEV_GPU_TEMP{Hostname=~"$machine"}', "{{Hostname}} {{gpu}}")], "celsius"),
    Panel("NVLink", [Query('rate(DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL{Hostname=~"$machine"}[$__rate_interval])',
                           "{{Hostname}} {{gpu}}")], "short", says="As the exporter counts it."),
    Panel("XID errors", [Query('DCGM_FI_DEV_XID_ERRORS{Hostname=~"$machine"}', "{{Hostname}} {{gpu}}")], "none",
          says="The number of the last error; 0 is none."),
    Panel("Remapped memory rows", [
        Query('DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS{Hostname=~"$machine"}', "{{Hostname}} {{gpu}} correctable"),
        Query('DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS{Hostname=~"$machine"}', "{{Hostname}} {{gpu}} uncorrectable")],
          "none"),
    Panel("Tokens per joule", [Query(
        f"sum by (node) (rate({series('generation_tokens_total', NODE)}[{RATE}])) / on (node) sum by (node) ("
        'label_replace(DCGM_FI_DEV_POWER_USAGE{Hostname=~"$machine"}, "node", "$1", "Hostname", "(.+)"))',
        "{{node}}")], "short", says="Generated tokens over the power of the machine's GPUs, whoever uses them."),
], collapsed=True)
