#!/usr/bin/env python3
"""Holds what each CUDA kernel takes of a multiprocessor to kernels/cuda/resources.txt.

    check_kernel_resources.py BUILD_FOLDER             fails on spills and on what grew
    check_kernel_resources.py BUILD_FOLDER --update    writes the table anew; spills still fail
    check_kernel_resources.py BUILD_FOLDER --list      prints the tables and the spills of every architecture built

Reads the reports that kernels/cuda/keep_resources.sh leaves beside the objects.
"""
import argparse
import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "kernels/cuda/resources.txt"
ARCHITECTURE = "sm_90a"  # of the table
REGISTERS_MORE = 8       # that a kernel may take before the table has to say so
SKIPPED = 77             # exit code: this build has nothing that the table speaks of

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
FUNCTION = re.compile(r"Function properties for (\w+)")
FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")
TYPES = {"__nv_bfloat16": "bf16", "__half": "f16", "float": "f32"}


@dataclass
class Kernel:
    """All instantiations of a kernel for one format; bytes are those of the one that takes most."""
    shared: int = 0
    stack: int = 0
    spilled: dict = field(default_factory=dict)    # variant -> bytes, where there are any
    registers: dict = field(default_factory=dict)  # variant -> registers


def reports(build):
    """The files that belong to the objects of this build, not what older ones left."""
    commands = json.loads((build / "compile_commands.json").read_text())
    objects = [build / re.search(r" -o (\S+)", command["command"]).group(1) for command in commands
               if command["file"].endswith(".cu") and Path(command["file"]).is_relative_to(ROOT / "kernels/cuda")]
    if not objects:
        sys.exit(f"check_kernel_resources: {build} has no CUDA kernels")
    found = [Path(f"{name}.resources") for name in objects]
    missing = [str(path) for path in found if not path.exists()]
    if missing:
        sys.exit("check_kernel_resources: build switchyard_kernels_cuda first; missing: " + ", ".join(missing))
    return found


def read(paths):
    """[(architecture, file, mangled name, {"registers", "shared", "stack", "spill"})]"""
    functions = {}
    for path in paths:
        architecture, current = None, None
        for line in path.read_text().splitlines():
            if match := ENTRY.search(line):
                architecture = match.group(2)
            elif match := FUNCTION.search(line):
                current = functions.setdefault((architecture, path.name.split(".")[0], match.group(1)),
                                               dict.fromkeys(("registers", "shared", "stack", "spill"), 0))
            elif match := FRAME.search(line):
                current["stack"], current["spill"] = int(match.group(1)), int(match.group(2))
            elif match := USED.search(line):
                current["registers"] = int(match.group(1))
                if match := SHARED.search(line):
                    current["shared"] = int(match.group(1))
    return [(*key, figures) for key, figures in functions.items()]


def demangle(names):
    run = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return [re.sub(r"\(anonymous namespace\)::|\b(switchyard|cuda)::|^void ", "", line)
            for line in run.stdout.splitlines()]


def arguments(name):
    """`f<A, B<C, D> >(E)` -> f, [A, B<C, D>]"""
    opening = re.search(r"[<(]|$", name).start()
    parts, depth, part = [], 0, ""
    for letter in name[opening:] if name[opening:opening + 1] == "<" else "":
        depth -= letter == ">"
        if depth == 0 and letter == ">":
            parts.append(part.strip())
            break
        if depth == 1 and letter == ",":
            parts.append(part.strip())
            part = ""
        elif depth:
            part += letter
        depth += letter == "<"
    return name[:opening], parts


def identify(name, formats):
    """(kernel, format, variant): numbers, also those of a ...Shape, go to the variant, other types to the kernel."""
    kernel, parts = arguments(name)
    number_format, variant = "-", []
    while parts:
        part = parts.pop(0)
        if match := re.fullmatch(r"\(WeightFormat\)(\d+)", part):
            number_format = formats[int(match.group(1))]
        elif part in TYPES:
            number_format = TYPES[part]
        elif re.match(r"\w+Shape<", part):
            parts = arguments(part)[1] + parts
        elif re.match(r"[A-Za-z_]", part) and part not in ("true", "false"):
            kernel += "/" + arguments(part)[0]
        else:
            variant.append({"true": "1", "false": "0"}.get(part, part))
    return kernel, number_format, ",".join(variant)


def format_names():
    text = (ROOT / "kernels/base/weight.h").read_text()
    names = re.search(r"enum class WeightFormat[^{]*\{([^}]*)\}", text).group(1)
    return [name.strip()[1:].lower() for name in names.split(",")]


def measure(build):
    """architecture -> {(file, kernel, format): Kernel}"""
    functions, formats, tables = read(reports(build)), format_names(), {}
    names = demangle([name for _, _, name, _ in functions])
    for (architecture, file, _, figures), name in zip(functions, names):
        kernel, number_format, variant = identify(name, formats)
        entry = tables.setdefault(architecture, {}).setdefault((file, kernel, number_format), Kernel())
        entry.shared = max(entry.shared, figures["shared"])
        entry.stack = max(entry.stack, figures["stack"])
        entry.registers[variant] = max(entry.registers.get(variant, 0), figures["registers"])
        if figures["spill"]:
            entry.spilled[variant] = max(entry.spilled.get(variant, 0), figures["spill"])
    return tables


def by_numbers(item):
    return [int(part) if part.isdigit() else 0 for part in item[0].split(",")]


def as_text(table, architecture, compiler):
    lines = [
        f"# {architecture}, nvcc {compiler}. Written by tests/lint/check_kernel_resources.py --update.",
        "# Bytes of static shared memory, of stack and of spilled registers: of the variant that takes most.",
        "# Registers of every variant: numbers among its template's arguments (0 and 1 for bool) : registers.",
        f"{'file':<17} {'kernel':<26} {'format':<6} {'shared':>6} {'stack':>5} {'spill':>5}  registers",
    ]
    for (file, kernel, number_format), entry in sorted(table.items()):
        variants = " ".join(f"{variant or '-'}:{registers}"
                            for variant, registers in sorted(entry.registers.items(), key=by_numbers))
        lines.append(f"{file:<17} {kernel:<26} {number_format:<6} {entry.shared:>6} {entry.stack:>5} "
                     f"{max(entry.spilled.values(), default=0):>5}  {variants}")
    return "\n".join(lines) + "\n"


def from_text(text):
    """The table, and the compiler that it speaks of."""
    lines = text.splitlines()
    table = {}
    for line in (line for line in lines[1:] if not line.startswith(("#", "file "))):
        file, kernel, number_format, shared, stack, _, *variants = line.split()
        entry = table[file, kernel, number_format] = Kernel(int(shared), int(stack))
        for variant in variants:
            name, registers = variant.split(":")
            entry.registers["" if name == "-" else name] = int(registers)
    return table, re.search(r"nvcc ([\d.]+\d)", lines[0]).group(1)


def spilling(table):
    """("kernel format variant", bytes) of what spills."""
    return [(f"{kernel} {number_format} {variant}", spilled)
            for (_, kernel, number_format), entry in sorted(table.items())
            for variant, spilled in sorted(entry.spilled.items(), key=by_numbers)]


def growth(now, before):
    errors = [f"{' '.join(key)}: in the table, not in the build" for key in sorted(before.keys() - now.keys())]
    for key, entry in sorted(now.items()):
        label = " ".join(key)
        if key not in before:
            errors.append(f"{label}: not in the table")
            continue
        old = before[key]
        for what in ("shared", "stack"):
            if getattr(entry, what) > getattr(old, what):
                errors.append(f"{label}: {getattr(entry, what)} bytes of {what}, were {getattr(old, what)}")
        if entry.registers.keys() != old.registers.keys():
            differing = sorted(entry.registers.keys() ^ old.registers.keys())
            errors.append(f"{label}: the table has other variants: {' '.join(differing)}")
        for variant in entry.registers.keys() & old.registers.keys():
            if entry.registers[variant] > old.registers[variant] + REGISTERS_MORE:
                errors.append(f"{label} {variant}: {entry.registers[variant]} registers, were {old.registers[variant]}")
    return errors


def compiler_of(build):
    text = "".join(path.read_text() for path in build.glob("CMakeFiles/*/CMakeCUDACompiler.cmake"))
    return re.search(r'CMAKE_CUDA_COMPILER_VERSION "([^"]+)"', text).group(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    build = options.build.resolve()
    tables, compiler = measure(build), compiler_of(build)
    if options.list:
        for name, table in sorted(tables.items()):
            print(as_text(table, name, compiler))
        for name, table in sorted(tables.items()):
            spilled = [f"{label}: {count}" for label, count in spilling(table)]
            print(f"{name} spills (bytes): {'; '.join(spilled) or 'nothing'}")
        return
    # What is compiled for the table's architecture alone is in every build.
    table = tables.get(ARCHITECTURE, {})
    if ("norm", "norm_rows", "-") not in table:
        print(f"check_kernel_resources: this build is for {', '.join(sorted(tables))}; the table for {ARCHITECTURE}")
        sys.exit(SKIPPED)
    errors = [f"{label}: spills {spilled} bytes" for label, spilled in spilling(table)]
    if options.update:
        TABLE.write_text(as_text(table, ARCHITECTURE, compiler))
    before, compiler_before = from_text(TABLE.read_text())
    if compiler == compiler_before:
        errors += growth(table, before)
    else:
        print(f"nvcc {compiler}, the table was made with {compiler_before}: registers are not compared")
    if errors:
        errors.append(f"Meant so? python3 tests/lint/check_kernel_resources.py {options.build} --update")
    print("\n".join(errors) if errors else f"{len(table)} kernels take what the table says")
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
