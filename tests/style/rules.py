"""The rules of form that no other tool checks: sizes, names, words, swallowed errors, hidden inputs.

A rule takes a file and yields the places that break it. Each is a function whose first line says what
it asks for; that line is what the author of a violation reads.
"""

import ast
import re
from collections.abc import Callable, Iterator

from tests.style.tree import Source, Violation

__all__ = ["RULES", "Rule"]

Rule = Callable[[Source], Iterator[Violation]]
Function = ast.FunctionDef | ast.AsyncFunctionDef

ERROR = re.compile(r"errors\.[A-Z]\w+")
MODULE_LINES = 500
FUNCTION_LINES = 60
PARAMETERS = 6

EMPTY_NAMES = frozenset({"utils", "util", "common", "helpers", "helper", "misc", "manager", "base", "impl"})
EMPTY_SUFFIXES = ("Manager", "Helper", "Helpers", "Impl", "Info", "Data", "Utils")
EMPTY_PREFIXES = ("Base", "Abstract")
VERBS = ("get_", "do_", "handle_", "process_")

# Attributes whose reading makes a result depend on something that the caller did not pass.
HIDDEN_INPUTS = frozenset(
    {
        "os.environ",
        "os.environb",
        "os.getenv",
        "time.time",
        "time.time_ns",
        "datetime.now",
        "datetime.utcnow",
        "datetime.datetime.now",
        "datetime.today",
        "date.today",
        "uuid.uuid1",
        "uuid.uuid4",
    }
)
OPEN_PACKAGES = frozenset({"app", "testing", "__main__"})


def module_size(source: Source) -> Iterator[Violation]:
    """A module has at most 500 lines."""
    lines = source.text.count("\n")
    if lines > MODULE_LINES:
        yield Violation(source.path, lines, "module", f"{lines} lines, at most {MODULE_LINES}")


def function_size(source: Source) -> Iterator[Violation]:
    """A function has at most 60 lines."""
    for function in functions(source.tree):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > FUNCTION_LINES:
            yield at(source, function, function.name, f"{lines} lines, at most {FUNCTION_LINES}")


def parameter_count(source: Source) -> Iterator[Violation]:
    """A function has at most 6 parameters."""
    if source.path.startswith("tests/"):
        return
    for function in functions(source.tree):
        arguments = function.args
        names = [argument.arg for argument in arguments.posonlyargs + arguments.args + arguments.kwonlyargs]
        count = len(names) - (names[:1] in (["self"], ["cls"]))
        if count > PARAMETERS:
            yield at(source, function, function.name, f"{count} parameters, at most {PARAMETERS}")


def telling_names(source: Source) -> Iterator[Violation]:
    """A name says what the thing is: no utils, no Manager, no get_."""
    if not source.path.startswith("src/"):
        return
    for part in source.path.removesuffix(".py").split("/"):
        if part in EMPTY_NAMES:
            yield Violation(source.path, 1, part, "say what is in it")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and empty(node.name.lstrip("_")):
            yield at(source, node, node.name, "the prefix or suffix adds nothing; name the thing itself")
        if isinstance(node, Function) and node.name.lstrip("_").startswith(VERBS):
            yield at(source, node, node.name, "a command is a telling verb, a question is a noun")


def empty(name: str) -> bool:
    """Say whether the class ``name`` carries an affix that tells nothing."""
    prefixed = any(re.match(prefix + "[A-Z]", name) for prefix in EMPTY_PREFIXES)
    return prefixed or (name.endswith(EMPTY_SUFFIXES) and name not in EMPTY_SUFFIXES)


def documented(source: Source) -> Iterator[Violation]:
    """Modules, public classes and functions, and the promises of spi have a docstring."""
    if ast.get_docstring(source.tree) is None and source.text.strip():
        yield Violation(source.path, 1, "module", "say first what it is for")
    if not source.path.startswith(("src/", "scripts/", "bench/")):
        return
    for node in source.tree.body:
        yield from undocumented(source, node)
        if source.package == "spi" and isinstance(node, ast.ClassDef):
            for promise in node.body:
                yield from undocumented(source, promise)


def undocumented(source: Source, node: ast.AST) -> Iterator[Violation]:
    """Yield ``node`` when it is a public definition without a docstring."""
    if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
        return
    if ast.get_docstring(node) is None:
        yield at(source, node, node.name, "say what a caller can rely on")


def errors_kept(source: Source) -> Iterator[Violation]:
    """An error that was not foreseen is raised again or recorded, never dropped."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and broad(node.type) and not recorded(node):
            yield at(source, node, "except", "it drops errors that nobody foresaw; name them, or raise again")
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith("suppress")
            and any(map(broad, node.args))
        ):
            yield at(source, node, "suppress", "it drops errors that nobody foresaw; name them")


def broad(caught: ast.expr | None) -> bool:
    """Say whether an ``except`` with ``caught`` takes everything."""
    if isinstance(caught, ast.Tuple):
        return any(map(broad, caught.elts))
    return caught is None or ast.unparse(caught) in ("Exception", "BaseException")


def recorded(handler: ast.ExceptHandler) -> bool:
    """Say whether the handler raises, logs with the trace, or hands the error itself on."""
    for node in ast.walk(handler):
        if isinstance(node, ast.Raise):
            return True
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".exception", "print_exc")):
            return True
        if handler.name and isinstance(node, ast.Name) and node.id == handler.name:
            return True
    return False


def peers_verified(source: Source) -> Iterator[Violation]:
    """Nothing switches off the check of whom it talks to. (A test may, to play the attacker.)"""
    if source.path.startswith("tests/"):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.keyword) and node.arg in ("verify", "verify_ssl") and false(node.value):
            yield at(source, node, node.arg, "the peer is not verified")
        if isinstance(node, ast.Attribute) and node.attr in ("CERT_NONE", "_create_unverified_context"):
            yield at(source, node, node.attr, "the peer is not verified")
        if (
            isinstance(node, ast.Assign)
            and false(node.value)
            and "check_hostname" in ast.unparse(node.targets[0])
        ):
            yield at(source, node, "check_hostname", "the peer's name is not verified")


def false(value: ast.expr) -> bool:
    """Say whether ``value`` is the constant False."""
    return isinstance(value, ast.Constant) and value.value is False


def inputs_passed(source: Source) -> Iterator[Violation]:
    """Environment, calendar clock and random come in as parameters; only app/ reads them."""
    if not source.shipped or source.package in OPEN_PACKAGES:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name in HIDDEN_INPUTS or re.fullmatch(r"random\.[a-z]+", name):
                yield at(source, node, name, "let the caller pass it")


def state_held(source: Source) -> Iterator[Violation]:
    """State belongs to an object that somebody made, not to a module."""
    if not source.shipped:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Global):
            yield at(source, node, node.names[0], "state of a module")
    for node in source.tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value and ast.unparse(node.value) in EMPTY:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            yield at(source, node, ast.unparse(target), "an empty container at module level is state")


EMPTY = frozenset(
    {"{}", "[]", "set()", "dict()", "list()", "deque()", "defaultdict(list)", "defaultdict(dict)"}
)


def remedy_named(source: Source) -> Iterator[Violation]:
    """An error says what to do: its remedy. Those of `crossport.testing` are for who writes tests."""
    if not source.path.startswith("src/") or source.path.startswith("src/crossport/testing/"):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and ERROR.fullmatch(ast.unparse(node.func)):
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            remedy = given.get("remedy")
            if None not in given and (remedy is None or ast.unparse(remedy) in ("''", "f''")):
                yield at(source, node, ast.unparse(node.args[0]) if node.args else "", "it has no remedy")


def real_collaborators(source: Source) -> Iterator[Violation]:
    """Tests use shipped fakes that pass the conformance suite, not mocks, and skip nothing."""
    for node in ast.walk(source.tree):
        if (
            isinstance(node, ast.Import | ast.ImportFrom)
            and "mock" in ast.unparse(node).replace(".", " ").split()
        ):
            yield at(source, node, "mock", "use a fake of crossport.testing")
        if isinstance(node, ast.Attribute) and ast.unparse(node) in SKIPS:
            yield at(source, node, ast.unparse(node), "a test that is skipped proves nothing")


SKIPS = frozenset({"pytest.skip", "pytest.mark.skip", "pytest.mark.skipif", "pytest.importorskip"})


def functions(tree: ast.AST) -> Iterator[Function]:
    """Yield every function and method, nested ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def at(source: Source, node: ast.AST, name: str, text: str) -> Violation:
    """Return the violation at the line of ``node``."""
    return Violation(source.path, getattr(node, "lineno", 1), name, text)


RULES: dict[str, Rule] = {
    "module-size": module_size,
    "function-size": function_size,
    "parameter-count": parameter_count,
    "telling-names": telling_names,
    "documented": documented,
    "errors-kept": errors_kept,
    "peers-verified": peers_verified,
    "inputs-passed": inputs_passed,
    "state-held": state_held,
    "real-collaborators": real_collaborators,
    "remedy-named": remedy_named,
}
