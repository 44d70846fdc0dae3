"""`switchyard-node inspect` and `bench`: what they say is complete and consistent with itself."""
import json
import subprocess
import tempfile
import unittest
from pathlib import Path

from api import SOURCE_DIR
from node_process import DEMO_MODEL, NODE


def run(*arguments):
    return subprocess.run([NODE, *arguments], capture_output=True, text=True, timeout=100, check=False)


class InspectTest(unittest.TestCase):
    def test_says_what_the_published_model_says_of_itself(self):
        inspected = run("inspect", SOURCE_DIR / "deploy/configs/lfm2-8b-a1b", "--json")
        self.assertEqual(inspected.returncode, 0, inspected.stderr)
        facts = json.loads(inspected.stdout)
        self.assertAlmostEqual(facts["parameters"] / 1e9, 8.340, places=3)
        self.assertAlmostEqual(facts["active_parameters"] / 1e9, 1.558, places=3)
        self.assertEqual(facts["kv_bytes_per_token_bf16"], 12288)

    def test_prints_the_same_as_a_table(self):
        table = run("inspect", DEMO_MODEL).stdout
        facts = json.loads(run("inspect", DEMO_MODEL, "--json").stdout)
        for name in facts:
            self.assertRegex(table, rf"(?m)^{name}\b")

    def test_names_what_is_wrong(self):
        self.assertEqual(run("inspect").returncode, 2)
        missing = run("inspect", "/nonexistent")
        self.assertEqual(missing.returncode, 1)
        self.assertIn("/nonexistent/config.json", missing.stderr)


class BenchTest(unittest.TestCase):
    def bench(self, *arguments):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "figures.json"
            ran = run("bench", "--json", file, *arguments)
            self.assertEqual(ran.returncode, 0, ran.stderr)
            return ran.stdout, json.loads(file.read_text())

    def test_measures_each_case_against_the_floor_of_its_step(self):
        printed, figures = self.bench("--model", DEMO_MODEL, "--batch", "1,4", "--context", "32,64",
                                      "--prefill", "200", "--decode-steps", "8")
        cases = [(row["case"], row["batch"], row["context"]) for row in figures["rows"]]
        self.assertEqual(cases, [("decode", 1, 32), ("decode", 4, 32), ("decode", 1, 64), ("decode", 4, 64),
                                 ("prefill", 1, 200)])
        for row in figures["rows"]:
            floor_seconds = row["floor_bytes"] / row["read_bytes_per_second"]
            self.assertAlmostEqual(row["share_of_floor"], floor_seconds / row["seconds"], places=6)
            tokens = row["batch"] * (row["context"] if row["case"] == "prefill" else 1)
            self.assertAlmostEqual(row["tokens_per_second"] * row["seconds"], tokens, places=3)
            self.assertGreaterEqual(row["p95_seconds"], row["seconds"])
        self.assertEqual(printed.count("decode"), 4)
        self.assertEqual(figures["schema"], "switchyard-bench/1")

        one, four = figures["rows"][0], figures["rows"][1]
        active_bytes = json.loads(run("inspect", DEMO_MODEL, "--json").stdout)["weight_bytes_per_token_bf16"]
        self.assertGreater(one["floor_bytes"], active_bytes)
        self.assertLess(one["floor_bytes"], active_bytes * 1.1)
        self.assertGreater(four["floor_bytes"], one["floor_bytes"])  # four rows choose more experts

    def test_times_each_kind_of_op_of_a_step(self):
        printed, figures = self.bench("--model", DEMO_MODEL, "--batch", "2", "--context", "64", "--prefill", "40",
                                      "--decode-steps", "4", "--prefill-runs", "1", "--by-op")
        config = json.loads((DEMO_MODEL / "config.json").read_text())
        for row in figures["rows"]:
            calls = {op["op"]: op["calls"] for op in row["ops"]}
            self.assertEqual(calls["attention"] + calls["short_conv"], config["num_hidden_layers"])
            self.assertEqual(calls["route"], calls["expert_down"])
            self.assertEqual(sum(calls.values()), row["dependent_steps"])
            self.assertAlmostEqual(sum(op["floor_bytes"] for op in row["ops"]) / row["floor_bytes"], 1, places=1)
            self.assertGreater(row["replay_seconds"], 0)
            chosen = min(config["num_experts"], row["batch"] * row["context"] * config["num_experts_per_tok"])
            self.assertGreaterEqual(row["distinct_experts"], config["num_experts_per_tok"])
            self.assertLessEqual(row["distinct_experts"], chosen)
        self.assertEqual(printed.count("expert_up"), 2)

    def test_skips_what_does_not_fit_and_says_why(self):
        printed, figures = self.bench("--model", DEMO_MODEL, "--batch", "1", "--context", "64,100000",
                                      "--decode-steps", "4", "--prefill", "32")
        self.assertEqual([row["context"] for row in figures["rows"]], [64, 32])
        self.assertEqual([skipped["context"] for skipped in figures["skipped"]], [100000])
        self.assertRegex(printed, "skipped: .*4096")

    def test_needs_only_a_config_when_weights_are_random(self):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_bytes((DEMO_MODEL / "config.json").read_bytes())
            _, figures = self.bench("--model", folder, "--random-weights", "7", "--batch", "2", "--context", "64",
                                    "--prefill", "10")
            self.assertEqual([row["batch"] for row in figures["rows"]], [2, 1])

    def test_fails_when_a_line_became_slower_than_in_an_earlier_report(self):
        small = ("--model", DEMO_MODEL, "--batch", "1", "--context", "16", "--decode-steps", "4", "--prefill", "16")
        _, figures = self.bench(*small)
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder) / "base.json"

            def compare(*flags, decode=1000.0):
                figures["rows"][0]["seconds"] = decode
                figures["rows"][1]["seconds"] = 1000.0
                base.write_text(json.dumps(figures))
                return run("bench", *small, "--compare", base, *flags)

            self.assertEqual(compare("--max-regression", "5%").returncode, 0)
            slower = compare(decode=1e-9)
            self.assertEqual(slower.returncode, 1, slower.stderr)
            self.assertRegex(slower.stdout, r"(?m)^decode, batch 1, context 16 .*REGRESSED$")
            self.assertEqual(slower.stdout.count("REGRESSED"), 1)
            other = compare("--weights", "int8")
            self.assertEqual(other.returncode, 1)
            self.assertIn("the base has weights 'auto', this run 'int8'", other.stderr)
        missing = run("bench", *small, "--compare", base)
        self.assertEqual(missing.returncode, 1)
        self.assertIn("cannot be opened", missing.stderr)
        self.assertEqual(missing.stdout, "", "it is looked at before anything is measured")

    def test_refuses_what_does_not_fit_the_model(self):
        long = run("bench", "--model", DEMO_MODEL, "--context", "100000", "--prefill", "100000")
        self.assertEqual(long.returncode, 1)
        self.assertIn("4096", long.stderr)
        self.assertEqual(run("bench", "--model", DEMO_MODEL, "--batch", "0").returncode, 2)


if __name__ == "__main__":
    unittest.main()
