"""deploy/Dockerfile, read rather than built: there may be no container engine where tests run. What it copies is
there and reaches the build, what it installs is in the list, and what runs is small, unprivileged and pinned."""
import fnmatch
import json
import re
import shlex
import subprocess
import unittest
from pathlib import Path

SOURCE_DIR = Path(__file__).resolve().parents[2]
DOCKERFILE = SOURCE_DIR / "deploy/Dockerfile"
TOOLS = re.compile(r"\b(g\+\+|gcc|cmake|ninja|-dev\b|build-essential|nvcc|git)\b")


class Stage:
    def __init__(self, base, name):
        self.base, self.name, self.steps = base, name, []

    def of(self, operation):
        return [rest for name, rest in self.steps if name == operation]


def parse():
    """The global ARGs, and the stages in order. Fails on what it does not understand."""
    text = re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text(encoding="utf-8"))
    arguments, stages = {}, []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        operation, rest = line.split(None, 1)
        assert operation in ("FROM ARG ENV LABEL RUN COPY USER WORKDIR EXPOSE ENTRYPOINT CMD".split()), line
        if operation == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()
            stages.append(Stage(base, name))
        elif not stages:
            assert operation == "ARG", line
            arguments.update([rest.split("=", 1)])
        else:
            stages[-1].steps.append((operation, rest))
    return arguments, {stage.name: stage for stage in stages}


class DockerfileTest(unittest.TestCase):
    def setUp(self):
        self.arguments, self.stages = parse()

    def chain(self, name, variant):
        """A stage and what it is built on, up to an image of others; variables replaced."""
        values = {**self.arguments, "VARIANT": variant}
        chain = []
        while name in self.stages:
            chain.append(self.stages[name])
            name = re.sub(r"\$\{(\w+)\}", lambda found: values[found.group(1)], self.stages[name].base)
        return chain, name

    def each_image(self):
        """(target, variant, its chain, the image it begins with)"""
        for target, variants in {"node": ("cpu", "cuda"), "demo": ("cpu",), "weights": ("cpu",)}.items():
            for variant in variants:
                yield target, variant, *self.chain(target, variant)

    def sources(self):
        """(stage, source) of all that is copied from the checkout."""
        for stage in self.stages.values():
            for copy in stage.of("COPY"):
                words = shlex.split(copy)
                if not words[0].startswith("--from"):
                    yield from ((stage.name, source) for source in words[:-1])

    def test_what_it_copies_is_there_and_not_ignored(self):
        rules = [line for line in (SOURCE_DIR / "deploy/Dockerfile.dockerignore").read_text().splitlines()
                 if line and not line.startswith("#")]
        self.assertEqual(rules[0], "*")
        wanted = list(self.sources()) + [("bundle.sh", path) for path in self.read_by_bundle()]
        for stage, source in wanted:
            with self.subTest(stage=stage, source=source):
                self.assertTrue((SOURCE_DIR / source).exists())
                ignored = False
                for rule in rules:  # the last that matches the path or a folder above it decides
                    pattern = rule.lstrip("!")
                    parts = Path(source).parts
                    above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
                    if any(fnmatch.fnmatch(path, pattern.removeprefix("**/")) for path in above):
                        ignored = not rule.startswith("!")
                self.assertFalse(ignored)

    def read_by_bundle(self):
        return re.findall(r'"\$source/([\w./-]+)"', (SOURCE_DIR / "deploy/bundle.sh").read_text())

    def test_everything_that_the_build_reads_is_copied(self):
        copied = {source for stage, source in self.sources() if stage == "build"}
        top = set(re.findall(r"^add_subdirectory\((\w+)\)", (SOURCE_DIR / "CMakeLists.txt").read_text(), re.M))
        self.assertLessEqual(top | {"CMakeLists.txt", "CMakePresets.json", "LICENSE", "deploy"}, copied)
        self.assertIn("LICENSE", self.read_by_bundle())
        for needed in self.read_by_bundle():
            self.assertTrue(any(needed == source or needed.startswith(source + "/") for source in copied), needed)

    def test_bases_are_named_by_version(self):
        for target, variant, _, image in self.each_image():
            with self.subTest(target=target, variant=variant):
                self.assertRegex(image, r"^[a-z/]+:\d[\w.-]+$")
        for value in self.arguments.values():
            self.assertNotIn("latest", value)

    def test_what_is_built_and_what_runs_have_the_same_glibc(self):
        release = {"debian:12-slim": "debian12", "ubuntu:24.04": "ubuntu24.04"}
        for variant in ("cpu", "cuda"):
            _, built_on = self.chain("build", variant)
            _, runs_on = self.chain("node", variant)
            if built_on != runs_on:
                self.assertTrue(built_on.endswith(release[runs_on]), f"{built_on} and {runs_on}")

    def test_dependencies_come_from_the_one_list(self):
        for stage in self.stages.values():
            for command in stage.of("RUN"):
                installed = re.findall(r"apt-get install .*?(?= &&|$)", command)
                self.assertEqual(bool(installed), stage.name == "weights", command)
        (install, build) = self.stages["build"].of("RUN")
        self.assertIn("deploy/install_dependencies.sh build", install)
        self.assertIn("deploy/bundle.sh --tree /switchyard", build)
        check = subprocess.run(["bash", "-n", "-c", build], capture_output=True, text=True, check=False)
        self.assertEqual(check.returncode, 0, check.stderr)

    def test_what_runs_has_no_tools_to_build_with(self):
        for target, variant, chain, image in self.each_image():
            with self.subTest(target=target, variant=variant):
                self.assertNotIn("devel", image)
                self.assertNotIn("build", [stage.name for stage in chain])
                for stage in chain:
                    for command in stage.of("RUN"):
                        self.assertNotRegex(command, TOOLS)
                        self.assertIn("rm -rf /var/lib/apt/lists/*", command)

    def test_what_runs_is_not_root_by_number(self):
        for target, variant, chain, _ in self.each_image():
            with self.subTest(target=target, variant=variant):
                user = [rest for stage in reversed(chain) for rest in stage.of("USER")][-1]
                self.assertRegex(user, r"^[1-9]\d+:[1-9]\d+$")

    def test_the_program_gets_signals_itself(self):
        for target, variant, chain, _ in self.each_image():
            with self.subTest(target=target, variant=variant):
                entry = [rest for stage in reversed(chain) for rest in stage.of("ENTRYPOINT")][-1]
                (program,) = json.loads(entry)  # the list form: no shell
                self.assertTrue(program.startswith("/"))

    def test_labels_say_what_it_is(self):
        version = re.search(r"project\(switchyard VERSION (\S+)", (SOURCE_DIR / "CMakeLists.txt").read_text()).group(1)
        for target, variant, chain, _ in self.each_image():
            with self.subTest(target=target, variant=variant):
                labels = dict(word.split("=", 1) for stage in chain for rest in stage.of("LABEL")
                              for word in shlex.split(rest))
                for name in ("title", "description", "version", "licenses"):
                    self.assertTrue(labels.get(f"org.opencontainers.image.{name}"), name)
                self.assertEqual(labels["org.opencontainers.image.version"], version)

    def test_the_commands_at_its_top_name_its_targets(self):
        text = "\n".join(re.findall("^# .*", DOCKERFILE.read_text(encoding="utf-8"), re.M))
        for target in re.findall(r"--target (\w+)", text):
            self.assertIn(target, self.stages)
        self.assertEqual(list(self.stages)[-1], "node")
        for name in re.findall(r"--build-arg (\w+)=", text):
            self.assertIn(name, self.arguments)

    def test_the_demo_image_has_a_whole_model(self):
        copied = {Path(source).name for stage, source in self.sources() if stage == "demo"}
        self.assertLessEqual({"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}, copied)


if __name__ == "__main__":
    unittest.main(verbosity=2)
