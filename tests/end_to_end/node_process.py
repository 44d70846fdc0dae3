"""Starts, asks and stops a switchyard-node process.

Every node listens on ports of its own choosing, so that tests may run side by side.
"""
import re
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request

import grpc

from api import BUILD_DIR, SOURCE_DIR, Stub, open_channel, v1

NODE = BUILD_DIR / "node/switchyard-node"
CLIENT = BUILD_DIR / "client/switchyard"
DEMO_MODEL = SOURCE_DIR / "deploy/demo-model"
READY = re.compile(r"switchyard-node ready grpc=(\S+) metrics=(\S+) admin=(\S+)")


class NodeProcess:
    """A running node. A context manager; leaving it stops the node and checks that it ended well."""

    def __init__(self, *flags, model=DEMO_MODEL, ready_within_seconds=60):
        self.log = tempfile.NamedTemporaryFile(prefix="switchyard-node-", suffix=".log", delete=True)
        self.process = subprocess.Popen(
            [NODE, "serve", "--model", model, "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0",
             "--admin", "127.0.0.1:0", *flags],
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        watchdog = threading.Timer(ready_within_seconds, self.process.kill)
        watchdog.start()
        try:
            ready = READY.match(self.process.stdout.readline())
        finally:
            watchdog.cancel()
        if not ready:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the node did not become ready; its log:\n" + self.log_text())
        self.grpc_address, self.metrics_address, self.admin_address = ready.groups()
        self.channel = open_channel(self.grpc_address)
        self.generation = Stub(self.channel, "switchyard.v1.GenerationService")
        self.chat = Stub(self.channel, "switchyard.v1.ChatService")
        self.model = Stub(self.channel, "switchyard.v1.ModelService")
        self.telemetry = Stub(self.channel, "switchyard.v1.TelemetryService")
        self.admin_channel = open_channel(self.admin_address)
        self.admin = Stub(self.admin_channel, "switchyard.v1.AdminService")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        exit_code = self.stop()
        if kind is None and exit_code != 0:
            raise AssertionError(f"the node ended with {exit_code}; its log:\n{self.log_text()}")

    def log_text(self):
        with open(self.log.name, encoding="utf-8", errors="replace") as log:
            return log.read()[-8000:]

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, seconds=30):
        """The exit code; kills a node that does not end in time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "killed: it had not ended in time"

    def stop(self, seconds=30):
        if self.process.poll() is None:
            self.signal()
        self.channel.close()
        self.admin_channel.close()
        exit_code = self.wait(seconds)
        self.process.stdout.close()
        self.log.flush()
        return exit_code

    def processor_seconds(self):
        """What its threads have computed so far: grows no faster when other programs run too."""
        return time.clock_gettime(~self.process.pid << 3 | 2)  # as clock_getcpuclockid(3) makes it

    def backend(self):
        """What computes: "cpu", "cuda"."""
        return self.telemetry.GetNodeInfo(v1("GetNodeInfoRequest"), timeout=10).backend

    def load(self):
        return self.telemetry.GetLoad(v1("GetLoadRequest"), timeout=10)

    def wait_until(self, holds, seconds=20):
        """Polls the load until holds(load); returns the last one."""
        deadline = time.monotonic() + seconds
        while True:
            load = self.load()
            if holds(load):
                return load
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s; the load is\n{load}")
            time.sleep(0.01)

    def wait_until_idle(self, seconds=20):
        """Until nothing runs and every cache block and state slot is free again."""
        return self.wait_until(lambda load: load.in_flight == load.running == load.waiting == 0 and
                               load.kv_blocks_free == load.kv_blocks_total and
                               load.state_slots_free == load.state_slots_total, seconds)

    def metrics(self):
        """name{labels} -> value, as /metrics shows them."""
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line and line[0] != "#"}

    def metric(self, name, **labels):
        """The sum of every series of that name which has these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(value for series, value in self.metrics().items()
                   if series.split("{")[0] == name and all(label in series for label in wanted))

    def answers(self):
        """Proves that the node still serves: one short greedy answer."""
        response = self.generation.Generate(greedy("hello", 4), timeout=20)
        return response.usage.completion_tokens > 0


def greedy(text, max_new_tokens, **stop):
    return v1("GenerateRequest", text=text, sampling=v1("SamplingParameters", temperature=0),
              stop=v1("StopCondition", max_new_tokens=max_new_tokens, **stop))


def endless(text="hello", seed=1):
    """Goes on until the context is full or somebody ends it."""
    return v1("GenerateRequest", text=text, sampling=v1("SamplingParameters", temperature=1, seed=seed),
              stop=v1("StopCondition", ignore_eos=True))


def collect(stream):
    """A whole stream as (started, text, token ids, finished, usage); checks the order of its messages."""
    kinds, text, tokens, parts = [], "", [], {}
    for message in stream:
        kind = message.WhichOneof("event")
        kinds.append(kind)
        if kind == "delta":
            assert message.delta.token_count == len(message.delta.token_ids), message
            text += message.delta.text
            tokens += message.delta.token_ids
        else:
            assert kind not in parts, f"two {kind}"
            parts[kind] = getattr(message, kind)
    deltas = [kind for kind in kinds if kind == "delta"]
    assert kinds == ["started", *deltas, "finished", "usage"], kinds
    return parts["started"], text, tokens, parts["finished"], parts["usage"]


def code_of(call):
    """The status code that call() ends with, and the grpc.RpcError (None when it ended well)."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error
    return grpc.StatusCode.OK, None
