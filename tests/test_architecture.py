import ast
from pathlib import Path

import jaxnum

PACKAGE = Path(jaxnum.__file__).parent

# Lowest first: a file imports only from floors below its own.
FLOORS = (
    {"_checks", "_folder", "_precision", "_progress", "_solution", "_status", "_store", "_typing", "_xarray"},
    {"numerics", "ensemble"},
    {"schrodinger", "optimize", "regression", "networks", "jupiter", "signals"},
    {"diagnose"},
    {"plot"},
    {"cases"},
    {"report", "experiment", "script"},
    {"_flags"},
    {"cli"},
    {"__main__"},
    {"__init__"},
)
LEVEL = {name: level for level, floor in enumerate(FLOORS) for name in floor}


def imports(path):
    """Yield the jaxnum modules imported by the file at `path`, lazily or not."""
    folder = path.relative_to(PACKAGE.parent).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = folder[: len(folder) - node.level + 1] if node.level else ()
            base = ".".join((*parent, *filter(None, [node.module])))
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name == "jaxnum":
                yield "__init__"
            elif name.startswith("jaxnum."):
                yield name.split(".")[1]


def sources():
    return sorted(PACKAGE.rglob("*.py"))


def test_imports_only_go_down():
    for path in sources():
        source = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for target in imports(path):
            if target == source or (source.startswith("_") and LEVEL[source] == LEVEL[target] == 0):
                continue
            # What the door offers under its own name belongs to the floor that holds it.
            assert LEVEL[target] < LEVEL[source], f"{path.relative_to(PACKAGE)} imports {target}"


def test_every_file_has_its_floor():
    found = {p.name.removesuffix(".py") for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert found <= set(LEVEL), found - set(LEVEL)


def test_matplotlib_is_imported_by_plot_alone():
    for path in sources():
        if path.relative_to(PACKAGE).parts[0] == "plot":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(n.split(".")[0] == "matplotlib" for n in names), path


def test_no_module_array_and_no_empty():
    # jnp.empty holds uninitialised memory since JAX 0.11, and an array at module scope starts a backend.
    for path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "jnp":
                assert node.attr not in ("empty", "empty_like"), path
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
                root = node.value.func
                while isinstance(root, ast.Attribute):
                    root = root.value
                assert not (isinstance(root, ast.Name) and root.id == "jnp"), f"{path}: {ast.unparse(node)}"
