#!/usr/bin/env python3
"""Drives a running switchyard-node with a closed loop of clients and says what they saw.

Each of CLIENTS asks for one answer after another: prompts of random tokens, answers of an exact
length. Every stream is checked for exactly its tokens. Times are taken where messages arrive.

  switchyard-node serve --model deploy/configs/lfm2.5-8b-a1b --random-weights 1 --weights int4 &
  deploy/measure_serving.py --clients 32 --prompt 8192 --answer 2048 --requests 64

Needs grpcio and protobuf, and the API's messages: a descriptor set (--protos, which a build has as
tests/end_to_end/protos.bin), or protoc or grpcio-tools to make one.
"""
import argparse
import importlib.util
import json
import multiprocessing
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SOURCE_DIR = Path(__file__).resolve().parents[1]
PROTO_DIR = SOURCE_DIR / "proto"


def descriptor_set(given):
    """The bytes of a FileDescriptorSet with the node's API."""
    if given:
        return Path(given).read_bytes()
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        if shutil.which("protoc"):
            compiler = ["protoc"]
        elif importlib.util.find_spec("grpc_tools"):
            compiler = [sys.executable, "-m", "grpc_tools.protoc"]
        else:
            sys.exit("neither protoc nor grpcio-tools is here: give --protos")
        subprocess.run([*compiler, "-I", PROTO_DIR, "--include_imports", f"--descriptor_set_out={file.name}",
                        PROTO_DIR / "switchyard/v1/generation.proto"], check=True)
        return Path(file.name).read_bytes()


class Api:
    """Messages and calls from a descriptor set."""

    def __init__(self, descriptors, address):
        import grpc  # here, because a process that forks must not have started it
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
        files = descriptor_pb2.FileDescriptorSet.FromString(descriptors)
        self._pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            self._pool.Add(file)
        self._class_of = getattr(message_factory, "GetMessageClass", None)
        if self._class_of is None:  # protobuf before 4.22
            self._class_of = message_factory.MessageFactory(self._pool).GetPrototype
        self.channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1),
                                                               ("grpc.max_send_message_length", 64 << 20)])
        self.generate = self.channel.unary_stream("/switchyard.v1.GenerationService/GenerateStream",
                                                  request_serializer=lambda message: message.SerializeToString(),
                                                  response_deserializer=self.type("GenerateStreamResponse").FromString)

    def type(self, name):
        return self._class_of(self._pool.FindMessageTypeByName("switchyard.v1." + name))

    def request(self, tokens, answer, seed, temperature):
        return self.type("GenerateRequest")(
            token_ids=self.type("TokenIds")(ids=tokens),
            sampling=self.type("SamplingParameters")(temperature=temperature, seed=seed),
            stop=self.type("StopCondition")(max_new_tokens=answer, ignore_eos=True))


def ask(api, options, number):
    """One answer: (asked at, [(arrived at, tokens)], what is wrong with it)."""
    draw = random.Random(options.seed * 1_000_003 + number)
    tokens = [draw.randrange(options.vocabulary) for _ in range(options.prompt)]
    request = api.request(tokens, options.answer, number, options.temperature)
    arrivals, usage, wrong = [], None, None
    asked = time.monotonic()
    try:
        for message in api.generate(request):
            kind = message.WhichOneof("event")
            if kind == "delta":
                if message.delta.token_count != len(message.delta.token_ids):
                    wrong = "token_count is not the number of token_ids"
                arrivals.append((time.monotonic(), message.delta.token_count))
            elif kind == "usage":
                usage = message.usage
    except Exception as error:  # of grpc: the others of this loop go on
        return asked, arrivals, f"{type(error).__name__}: {getattr(error, 'details', lambda: error)()}"
    got = sum(count for _, count in arrivals)
    if got != options.answer:
        wrong = f"{got} tokens instead of {options.answer}"
    elif usage is None or usage.completion_tokens != got or usage.prompt_tokens != options.prompt:
        wrong = f"usage says {usage}"
    return asked, arrivals, wrong


def client_process(descriptors, options, clients, next_number, stop_at, results):
    """`clients` threads that share a connection and take the next number until there is none."""
    api = Api(descriptors, options.address)
    answers = []

    def loop():
        while time.monotonic() < stop_at:
            with next_number.get_lock():
                number = next_number.value
                next_number.value += 1
            if number >= options.requests:
                return
            answers.append(ask(api, options, number))

    threads = [threading.Thread(target=loop) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(answers)


def percentiles(values, scale=1e3):
    values = sorted(values)
    if not values:
        return {}
    return {f"p{p}": values[min(len(values) - 1, p * len(values) // 100)] * scale for p in (50, 95, 99)}


def summarize(options, answers):
    asked = [one[0] for one in answers]
    good = [(began, arrivals) for began, arrivals, wrong in answers if not wrong]
    arrivals = sorted(arrival for one in answers for arrival in one[1])
    tokens = sum(count for _, count in arrivals)
    wall = arrivals[-1][0] - min(asked)
    # While every client had an answer to wait for: from the last client's first token to the first
    # client's last one.
    firsts = sorted(one[1][0][0] for one in answers if one[1])
    ends = sorted(one[1][-1][0] for one in answers if one[1])
    full_from = firsts[min(options.clients, len(firsts)) - 1]
    full_to = ends[max(0, len(ends) - options.clients)]
    steady = sum(count for at, count in arrivals if full_from < at <= full_to)
    gaps = [later[0] - earlier[0] for _, one in good for earlier, later in zip(one, one[1:])]
    return {
        "schema": "switchyard-serving/1",
        "clients": options.clients,
        "prompt_tokens": options.prompt,
        "answer_tokens": options.answer,
        "answers": len(answers),
        "failed": [wrong for _, _, wrong in answers if wrong][:10],
        "seconds": wall,
        "output_tokens_per_second": tokens / wall,
        "total_tokens_per_second": (tokens + options.prompt * len(answers)) / wall,
        "steady_output_tokens_per_second": steady / (full_to - full_from) if full_to > full_from else None,
        "tokens_per_message": tokens / max(1, len(arrivals)),
        "time_to_first_token_ms": percentiles([one[0][0] - began for began, one in good if one]),
        "between_messages_ms": percentiles(gaps),
        "answer_seconds": percentiles([one[-1][0] - began for began, one in good if one], scale=1),
    }


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.1:50051", help="the node's gRPC HOST:PORT")
    parser.add_argument("--clients", type=int, default=8, help="answers in flight")
    parser.add_argument("--processes", type=int, default=0, help="that the clients run in; 0: one for 4 clients")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of a prompt")
    parser.add_argument("--answer", type=int, default=128, help="tokens of an answer")
    parser.add_argument("--requests", type=int, default=64, help="answers in all")
    parser.add_argument("--seconds", type=float, default=3600, help="after which nothing new is asked")
    parser.add_argument("--vocabulary", type=int, default=1000, help="prompts draw from tokens below this")
    parser.add_argument("--temperature", type=float, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--protos", help="file with a FileDescriptorSet of the API")
    parser.add_argument("--json", help="also write the figures to this file")
    return parser.parse_args()


def main():
    options = parse_arguments()
    descriptors = descriptor_set(options.protos)
    context = multiprocessing.get_context("spawn")
    processes = min(options.processes or (options.clients + 3) // 4, options.clients)
    next_number, results = context.Value("l", 0), context.Queue()
    stop_at = time.monotonic() + options.seconds
    shares = [options.clients // processes + (i < options.clients % processes) for i in range(processes)]
    workers = [context.Process(target=client_process,
                               args=(descriptors, options, share, next_number, stop_at, results))
               for share in shares]
    for worker in workers:
        worker.start()
    answers = [answer for _ in workers for answer in results.get()]
    for worker in workers:
        worker.join()
    if not any(arrivals for _, arrivals, _ in answers):
        sys.exit(f"no answer had a token: {answers[0][2] if answers else 'nothing was asked'}")
    figures = summarize(options, answers)
    print(json.dumps(figures, indent=2))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    sys.exit(1 if figures["failed"] else 0)


if __name__ == "__main__":
    main()
