#!/usr/bin/env python3
"""Fails on an include that is not an arrow of the architecture, on a cycle, on a source file over
400 lines, on a platform #if outside kernels/make_backend.cc, and on a file in no known layer.

    proto <- node -> engine -> kernels        client -> proto        tests -> anything
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 400
ENGINE = ["base", "memory", "text", "request", "weights", "model", "schedule", "batch", "run"]
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
GENERATED = re.compile(r"\.(pb|grpc\.pb)\.h$")
PLATFORM = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif)\b.*\b(CUDA|__CUDA|SWITCHYARD_WITH|__linux__|"
                      r"_WIN32|__APPLE__|__x86_64__|__aarch64__|__AVX\w*)")


def layer_of(path):
    """The unit of the arrows that a file belongs to, or None."""
    parts = path.split("/")
    if parts[0] == "kernels":
        if parts[1] == "base":
            return "kernels/base"
        if parts[1] in ("null", "cpu", "cuda"):
            return f"kernels/{parts[1]}"
        return "kernels/make_backend" if parts[1].startswith("make_backend") else "kernels/backend"
    if parts[0] == "engine":
        return f"engine/{parts[1]}" if len(parts) > 2 else "engine"
    if parts[0] == "client":
        return f"client/{parts[1]}"
    if parts[0] in ("node", "proto", "tests"):
        return parts[0]
    return None


def allowed():
    """layer -> the layers that it may include (itself is always allowed)."""
    kernels = {
        "kernels/base": [],
        "kernels/backend": ["kernels/base"],
        "kernels/null": ["kernels/base", "kernels/backend"],
        "kernels/cpu": ["kernels/base", "kernels/backend"],
        "kernels/cuda": ["kernels/base", "kernels/backend"],
        "kernels/make_backend": ["kernels/base", "kernels/backend", "kernels/null", "kernels/cpu", "kernels/cuda"],
    }
    # What others may see of kernels: the interface and its types, who makes a backend, and the
    # null interpreter, which measures a model without computing it.
    seen = ["kernels/base", "kernels/backend", "kernels/make_backend", "kernels/null"]
    engine = {f"engine/{name}": [f"engine/{below}" for below in ENGINE[:i]] + seen for i, name in enumerate(ENGINE)}
    top = {
        "engine": [f"engine/{name}" for name in ENGINE] + seen,
        "proto": [],
        "node": ["proto", "engine", *engine, *seen],
        "client/rpc": ["proto"],
        "client/router": ["proto", "client/rpc"],
        "client/load": ["proto", "client/rpc"],
        "client/gateway": ["proto", "client/rpc"],
        "client/cli": ["proto", "client/rpc", "client/load"],
    }
    return kernels | engine | top


def target_of(include):
    return "proto" if GENERATED.search(include) else layer_of(include)


def check(files):
    errors, arrows, edges = [], allowed(), {}
    for path in files:
        lines = (ROOT / path).read_text(encoding="utf-8", errors="replace").splitlines()
        if len(lines) > MAX_LINES:
            errors.append(f"{path}: {len(lines)} lines, limit {MAX_LINES}")
        source = layer_of(path)
        if source is None:
            errors.append(f"{path}: in no known layer")
            continue
        if source == "tests" or not path.endswith((".h", ".cc", ".cu", ".cuh")):
            continue
        if source not in arrows:
            errors.append(f"{path}: layer {source} is not in the architecture")
            continue
        for number, line in enumerate(lines, 1):
            if PLATFORM.match(line) and source != "kernels/make_backend":
                errors.append(f"{path}:{number}: platform #if outside kernels/make_backend.cc")
            match = INCLUDE.match(line)
            if not match:
                continue
            target = target_of(match.group(1))
            if target is None:
                errors.append(f'{path}:{number}: "{match.group(1)}" is not a path from the root')
            elif target != source and target not in arrows[source]:
                errors.append(f"{path}:{number}: {source} may not include {target} ({match.group(1)})")
            elif path.endswith((".h", ".cuh")) and not GENERATED.search(match.group(1)):
                edges.setdefault(path, []).append(match.group(1))
    return errors + cycles(edges)


def cycles(edges):
    found, done, trail = [], set(), []

    def visit(node):
        if node in trail:
            found.append("include cycle: " + " -> ".join(trail[trail.index(node):] + [node]))
            return
        if node in done:
            return
        trail.append(node)
        for following in edges.get(node, []):
            visit(following)
        trail.pop()
        done.add(node)

    for start in sorted(edges):
        visit(start)
    return found


def main():
    # A walk, not `git ls-files`: the tree may be an export without its history.
    files = sorted(str(path.relative_to(ROOT)) for folder in ("engine", "kernels", "node", "client", "tests")
                   for path in (ROOT / folder).rglob("*") if path.suffix in (".h", ".cc", ".cu", ".cuh", ".py"))
    if not files:
        sys.exit("check_layers: no source files found")
    errors = check(files)
    print("\n".join(errors) if errors else f"{len(files)} files follow the arrows")
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
