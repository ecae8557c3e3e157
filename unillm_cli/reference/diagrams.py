"""Diagrams of the source in Mermaid's language, drawn from the source itself.

The diagram of modules is what the import statements say. The diagram of a request is written down here, call by call;
`unkept` compares it with the source, so that it cannot stay when a function goes.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FLOORS = (
    ("floor 3: the door for people", "unillm_cli"),
    ("floor 2: tokens in time", "runtime"),
    ("floor 1: mathematics", "models"),
    ("floor 1: names and files", "registry"),
)


@dataclass(frozen=True, slots=True)
class Call:
    """`caller`, a file of the package, calls `function` of the file `called`; `said` is what happens then."""

    caller: str
    called: str
    function: str
    said: str


REQUEST = (
    Call("unillm_cli/commands/generate", "unillm_cli/speaking", "open_speaker", "a model's name and the settings"),
    Call("unillm_cli/speaking", "unillm_cli/client", "open_engine", "where no server answers"),
    Call("unillm_cli/client", "registry/locate", "locate", "the name becomes verified files"),
    Call("unillm_cli/client", "runtime/engine", "load", "the files become an engine"),
    Call("runtime/engine", "runtime/loading", "load_parts", "weights are mapped; tokenizer, template, defaults"),
    Call("runtime/engine", "runtime/assembly", "assemble", "a cache as large as memory allows"),
    Call("unillm_cli/commands/generate", "unillm_cli/speaking", "answer", "text, or messages"),
    Call("unillm_cli/speaking", "runtime/engine", "chat", "messages"),
    Call("runtime/engine", "runtime/intake", "conversation", "the template writes them, the tokenizer reads that"),
    Call("runtime/engine", "runtime/desk", "hand_in", "the request waits in line"),
    Call("runtime/engine", "runtime/desk", "drive", "whoever waits for an answer turns the wheel"),
    Call("runtime/desk", "runtime/wheel", "turn", "one step for all who run"),
    Call("runtime/wheel", "runtime/scheduler", "next_step", "who runs, and with how many tokens"),
    Call("runtime/scheduler", "runtime/kv/pages", "lease", "pages; those of a known prefix are computed already"),
    Call("runtime/wheel", "runtime/runner", "run", "tensors; the model's forward pass; scores"),
    Call("runtime/wheel", "runtime/sampler", "sample", "a token a sequence"),
    Call("runtime/desk", "runtime/request", "take", "tokens become whole characters, stops are cut"),
    Call("runtime/engine", "runtime/stream", "Stream", "updates, as they come"),
)


def modules(root: Path) -> str:
    """Which package imports which, a floor a box. An import that is only for type checkers draws no arrow."""
    names = sorted(_packages(root))
    lines = ["graph TD"]
    for title, floor in FLOORS:
        lines.append(f'  subgraph "{title}"')
        lines += [f"    {_node(name)}[{name}]" for name in names if name.split("/")[0] == floor]
        lines.append("  end")
    lines += [f"  {_node(one)} --> {_node(other)}" for one, other in sorted(arrows(root))]
    return "\n".join(lines) + "\n"


def request() -> str:
    """The calls of one answer, in order."""
    files = list(dict.fromkeys(name for call in REQUEST for name in (call.caller, call.called)))
    lines = ["sequenceDiagram", *(f"  participant {_node(name)} as {name}" for name in files)]
    lines += [f"  {_node(one.caller)}->>{_node(one.called)}: {one.function}: {one.said}" for one in REQUEST]
    return "\n".join(lines) + "\n"


def unkept(root: Path) -> list[Call]:
    """The calls of `REQUEST` that the source does not have: nobody defines them, or the caller does not call them."""
    return [call for call in REQUEST if not (_defines(root, call) and _calls(root, call))]


def arrows(root: Path) -> set[tuple[str, str]]:
    """Pairs of packages, the first of which imports from the second."""
    packages = _packages(root)
    found: set[tuple[str, str]] = set()
    for package in packages:
        for path in (root / package).glob("*.py"):
            found |= {(package, other) for other in _imported(root, path, packages) if other != package}
    return found


def _packages(root: Path) -> set[str]:
    inits = [path.parent.relative_to(root) for _, floor in FLOORS for path in (root / floor).rglob("__init__.py")]
    return {folder.as_posix() for folder in inits}


def _imported(root: Path, path: Path, packages: set[str]) -> Iterator[str]:
    for node in _at_run_time(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = path.parents[node.level - 1] / "/".join((node.module or "").split("."))
        for name in node.names:
            for candidate in (base / name.name, base, base.parent):
                place = candidate.relative_to(root).as_posix() if candidate.is_relative_to(root) else ""
                if place in packages:
                    yield place
                    break


def _at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from _at_run_time(node)


def _defines(root: Path, call: Call) -> bool:
    tree = ast.parse((root / f"{call.called}.py").read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) and node.name == call.function for node in ast.walk(tree))


def _calls(root: Path, call: Call) -> bool:
    tree = ast.parse((root / f"{call.caller}.py").read_text("utf-8"))
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", None) for one in called}
    return call.function in names


def _node(name: str) -> str:
    return name.replace("/", "_")
