"""A run for a paper: its tables, a methods paragraph, BibTeX, and a document that holds them all and compiles."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fairbench.display.page import in_latex
from fairbench.exporting.job import Job
from fairbench.reporting import paper
from fairbench.storage import atomic

_DOCUMENT: Final = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs}
\begin{document}
\input{methods}
\input{tables}
\nocite{*}
\bibliographystyle{plain}
\bibliography{references}
\end{document}
"""


def write(job: Job) -> Path:
    """Write results.tex, methods.tex, tables.tex and references.bib; return the path of the first."""
    content = job.content
    said = [in_latex(paper.methods(content)), in_latex(job.label_note)]
    notices = [rf"\item {{}}{in_latex(n['sentence'])}" for n in content.notices()]
    if notices:
        said.append("\n".join(["Notices of this run:", r"\begin{itemize}", *notices, r"\end{itemize}"]))
    with job.writing(r"(results|methods|tables)\.tex|references\.bib") as folder:
        atomic.write_text(folder / "results.tex", _DOCUMENT)
        atomic.write_text(folder / "methods.tex", "\n\n".join(said) + "\n")
        atomic.write_text(folder / "tables.tex", "\n".join(table["latex"] for table in content.tables()))
        atomic.write_text(folder / "references.bib", paper.bibtex(content) + "\n")
    return job.folder / "results.tex"
