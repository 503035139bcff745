"""What the project says of itself agrees: version, public names, shapes of arrays."""

from __future__ import annotations

import inspect
import re

import yaml

import fairbench
from docs import public_modules
from tests.builders.folders import ROOT

SHAPE = re.compile(r"\[\.\.\.(, \w+)*\]|\(\w+(, ?\w+)*,?\)")
"""As in p[..., K], (P, K) or (K,)."""
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
"""A relative link of Markdown, without its anchor."""


def functions() -> dict[str, object]:
    """Return every public function, and every public method of a public class, by name."""
    found: dict[str, object] = {}
    for name in fairbench.__all__:
        public = getattr(fairbench, name)
        if inspect.ismodule(public):
            found |= {f"{name}.{inner}": getattr(public, inner).fn for inner in public.__all__}
        elif inspect.isclass(public) and public.__module__.startswith("fairbench."):
            methods = inspect.getmembers(public, inspect.isfunction)
            found |= {f"{name}.{inner}": method for inner, method in methods if inner == "__call__" or inner[0] != "_"}
        elif callable(public):
            found[name] = public
    return found


def takes_arrays(function: object) -> bool:
    """Whether a parameter's annotation names an array."""
    signature = inspect.signature(function)  # type: ignore[arg-type]
    return any(re.search(r"Array|Floats|ndarray", str(p.annotation)) for p in signature.parameters.values())


def test_arrays_of_public_functions_have_shapes() -> None:
    arrays = {name: f for name, f in functions().items() if takes_arrays(f)}
    assert {"interval", "metrics.rd", "ShareMetric.__call__"} <= set(arrays)
    without = [name for name, f in arrays.items() if not SHAPE.search(inspect.getdoc(f) or "")]
    assert not without, f"say the shape of the arrays, as [..., K] or (P, K): {without}"


def test_public_functions_document_each_argument() -> None:
    public = {name: getattr(fairbench, name) for name in fairbench.__all__}
    signatures = {name: inspect.signature(f) for name, f in public.items() if inspect.isfunction(f)}
    missing = [
        f"{name}: {parameter}"
        for name, signature in signatures.items()
        for parameter in signature.parameters
        if not re.search(
            rf"^ +\*?{parameter}: \S", (inspect.getdoc(public[name]) or "").partition("Args:")[2], re.MULTILINE
        )
    ]
    assert {"run", "load", "register"} <= set(signatures)
    assert not missing


def test_every_public_name_says_what_it_is() -> None:
    undocumented = [n for n in fairbench.__all__ if n != "__version__" and not inspect.getdoc(getattr(fairbench, n))]
    assert not undocumented


def test_the_reference_has_every_public_name() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text()
    listed = re.findall(r"^::: fairbench\.([\w.]+)$", page, re.MULTILINE)
    assert sorted(listed) == sorted(name for name in fairbench.__all__ if name != "__version__")


def test_the_version_is_one() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    changed = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    bibtex = re.search(r"version = \{(.+?)\}", (ROOT / "README.md").read_text())
    assert changed and bibtex
    assert fairbench.__version__ == cited == changed[1] == bibtex[1]


def test_pydoclint_sees_the_public_modules() -> None:
    public = {"fairbench/api/runs.py", "fairbench/api/people.py", "fairbench/runs/result.py"}
    assert public <= set(public_modules.files())


def test_links_of_files_outside_the_site_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "leaderboards").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    targets = {(p, t) for p in pages for t in LINK.findall(p.read_text(encoding="utf-8"))}
    assert len(targets) > 20
    assert not [(page.name, target) for page, target in targets if not (page.parent / target).exists()]
