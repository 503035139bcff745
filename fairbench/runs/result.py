"""A finished run, read from its folder alone: tidy tables of what it measured, and the pictures behind them.

The labels are perceived presentation in pictures, as seen by whoever gave them; never anyone's identity.
"""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from fairbench import registry
from fairbench.display.dictionary import TABLES
from fairbench.display.page import Shown
from fairbench.errors import FairbenchError
from fairbench.runs import evidence, following, pictures, quality, sections, single_prompts, terminal
from fairbench.runs.folder import RunFolder
from fairbench.runs.terminal_tables import LINES, Measured
from fairbench.storage.files import StoreName
from fairbench.storage.store import Store
from fairbench.types import Prompt

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image


class Run(RunFolder, Shown):
    """A run in its folder. Everything is read when it is first asked for; docs/reference/columns.md has all columns."""

    def __init__(self, folder: str | os.PathLike[str], store: StoreName | None = None) -> None:
        super().__init__(folder)
        self._store = store

    def summary(self) -> pd.DataFrame:
        """Return what the main table shows, a row per attribute and estimate.

        Columns: attribute, metric, estimate, n0, value, ci_low and ci_high (for this list), population_ci_low and
        population_ci_high (for other prompts), floor, floor_p95, ceiling, n_faces, n_prompts, reason.
        """
        keys = ["attribute", "metric", "estimate"]
        lines = [(line.metric, line.estimate) for line in LINES]
        pairs = list(zip(self.metrics["metric"], self.metrics["estimate"], strict=True))
        rows = self.metrics[[pair in lines for pair in pairs]]
        limits = rows[rows["scope"] == "population"][[*keys, "ci_low", "ci_high"]]
        limits = limits.rename(columns={"ci_low": "population_ci_low", "ci_high": "population_ci_high"})
        table = rows[rows["scope"] == "task"].merge(limits, on=keys, how="left")
        attributes = list(dict.fromkeys(table["attribute"]))
        rank_of_row = [
            (attributes.index(row["attribute"]), lines.index((row["metric"], row["estimate"])))
            for row in table.to_dict("records")
        ]
        table = table.iloc[sorted(range(len(table)), key=rank_of_row.__getitem__)].reset_index(drop=True)
        columns = [*keys, "n0", "value", "ci_low", "ci_high", "population_ci_low", "population_ci_high"]
        return table[[*columns, "floor", "floor_p95", "ceiling", "n_faces", "n_prompts", "reason"]]

    def shares(self, attribute: str) -> pd.DataFrame:
        """Return the share of every class of an attribute or cross in every prompt: a row per prompt and class.

        Columns: prompt, subject, class, share and its 95 % interval (ci_low, ci_high), n and n_excluded (faces). Of a
        prompt without a labelled face, the share is NaN. Raises FairbenchError for what was not measured.
        """
        import pandas as pd

        shares = self.metrics[(self.metrics["scope"] == "prompt") & (self.metrics["estimate"] == "raw")]
        shares = shares[shares["metric"].str.startswith("share[")]
        attributes = list(dict.fromkeys(shares["attribute"]))
        if attribute not in attributes:
            raise FairbenchError(
                f"Run {self.folder} has no attribute {attribute!r}{registry.suggest(attribute, attributes)}."
            )
        shares = shares[shares["attribute"] == attribute]
        subject_of = {prompt.text: prompt.subject for prompt in self._prompts}
        return pd.DataFrame(
            {
                "prompt": shares["scope_value"],
                "subject": shares["scope_value"].map(subject_of),
                "class": shares["metric"].str.slice(len("share["), -1),
                "share": shares["value"],
                "ci_low": shares["ci_low"],
                "ci_high": shares["ci_high"],
                "n": shares["n_faces"],
                "n_excluded": shares["n_excluded"],
            }
        ).reset_index(drop=True)

    def worst_prompts(self, attribute: str) -> pd.DataFrame:
        """Return what is known of every prompt by itself, of one attribute or cross: a row per prompt, the worst first.

        Columns: prompt, subject, attribute, n_faces; leads: the class that most faces show; raw: concentration; shrunk:
        the same, drawn towards the other prompts, with an interval (ci_low, ci_high) that covers on average over
        prompts; q: of the test that a fair model shows such faces, adjusted over the prompts (Benjamini-Hochberg);
        chosen: the shrunk value on the half of the prompt's images by which the rows are ordered; judged: the raw value
        on the other half, which the order does not flatter. Raises FairbenchError for what was not measured.
        """
        import pandas as pd

        (statements,) = single_prompts.of_run(evidence.read(self.folder), attribute)
        return pd.DataFrame(statements.rows)

    def quality(self) -> pd.DataFrame:
        """Return how the pictures of each class score beside the others of their prompts: a row per scorer, measure,
        attribute and class.

        Columns: scorer, measure (score; of embeddings distance and vendi), attribute, class; value and others: of the
        class and the other classes, where the measure has them; n0: images per class and prompt of a Vendi score;
        difference with ci_low, ci_high and p (adjusted over the classes by Holm), n_prompts, n_class and n_others
        (images); reference_difference, reference_ci_low, reference_ci_high: the same of the reference's pictures;
        net, net_ci_low, net_ci_high and net_p: the difference beyond the reference's.
        """
        import pandas as pd

        return pd.DataFrame([quality.columns(each) for each in quality.of_run(evidence.read(self.folder))])

    def kernel_distances(self) -> pd.DataFrame:
        """Return the Kernel Inception Distance from the reference's pictures at this run's shares of each attribute.

        Columns: scorer, attribute, kid with ci_low and ci_high; kept: share of the images whose classes are in the
        reference; n_images, n_reference. Empty without --scorer-reference or without embeddings.
        """
        import pandas as pd

        return pd.DataFrame(quality.kernel_distances(self.folder))

    def sections(self, attribute: str, by: Literal["category", "wording"] = "category") -> pd.DataFrame:
        """Return what the prompts of each category, or wording, show of an attribute or cross, and how sections differ.

        A row per quantity (concentration, or a class whose share it is) and section, of this list and of other prompts
        (`population_`). difference: to the first section, subject by subject where all have the same; p_adjusted: of no
        difference over this list, adjusted over the rows (Holm). Empty for a task that has no such sections.
        Raises FairbenchError for what was not measured.
        """
        import pandas as pd

        rows = sections.as_rows(sections.of_run(evidence.read(self.folder), by, attribute))
        return pd.DataFrame(rows, columns=[*sections.COLUMNS.values()])

    def following(self) -> pd.DataFrame:
        """Return how far prompts are followed that state whom to show: a row per stated group; empty where none does.

        Groups are of one attribute, of all that is stated together, and (attribute `faces`) along and against the
        stereotype of the subject, with the gap between these. Columns: attribute, group; value: share of faces that
        show what their prompt states, with its interval for this list (ci_low, ci_high) and for other subjects
        (population_ci_low, population_ci_high); recall: how often the labeller reads the group right, as calibrated,
        with its interval (recall_ci_low, recall_ci_high); adjusted_lowest, adjusted_highest: the value with the
        labeller's errors undone, one number unless the calibration is of other images, and the limits around both
        (adjusted_ci_low, adjusted_ci_high); gap_lowest, gap_highest, gap_ci_low, gap_ci_high: the same of how far the
        group is followed more than the others, as read where nothing is adjusted; p: of no such gap, adjusted (Holm);
        no_face, refused: shares of images, with intervals; n_prompts, n_faces, reason.
        """
        import pandas as pd

        measured = Measured(self)
        rows = following.table(following.groups(measured), following.stereotype(measured))
        return pd.DataFrame(rows, columns=list(TABLES["run.following()"][1]))

    def customary_readings(self) -> pd.DataFrame:
        """Return the share showing the customary reading of prompts whose words or setting leave hardly a choice.

        A description, never a measure of being correct. A row per attribute (`faces`: all that is fixed together) and
        group, by definition (of a word) or by custom (of a place and time); empty for tasks without such prompts.
        Columns: as those of `following`.
        """
        import pandas as pd

        rows = following.table(following.customary(Measured(self)))
        return pd.DataFrame(rows, columns=list(TABLES["run.following()"][1]))

    def images(self, prompt: str | None = None) -> pd.DataFrame:
        """Return a row per face, and one per image without a face, of one prompt or of all.

        prompt: its subject, its text, or its prompt_id; several that match are all taken. Columns: image_id, prompt,
        subject, prompt_id, sample_index, seed, text (what the model was asked), status, error, face (its index),
        counted (whether the labeller's policy counts the face); for every attribute its label as it is counted, the
        probability of what was read (ATTRIBUTE.prob), and of each class (ATTRIBUTE.prob CLASS).

        Raises FairbenchError for a prompt that the run does not have.
        """
        prompts = self._prompts
        if prompt is not None:
            prompts = [p for p in prompts if prompt in (p.subject, p.text, p.neutral_id.hex())]
            if not prompts:
                subjects = [p.subject for p in self._prompts]
                raise FairbenchError(f"Run {self.folder} has no prompt {prompt!r}{registry.suggest(prompt, subjects)}.")
        return pictures.table(Store(self.folder / evidence.FOLDER, look_only=True), self.record, prompts)

    def boxes(self) -> dict[tuple[str, int], list[float] | None]:
        """Return (image_id, face) -> the face's box: left, top, right, bottom in pixels; None where none is known."""
        return pictures.boxes(Store(self.folder / evidence.FOLDER, look_only=True), self.record.keys.faces)

    def picture(self, image_id: str) -> Image:
        """Return an image of the run as a PIL image, from the store that it was made in.

        Raises FairbenchError where the store is gone: `fairbench.load` takes another.
        """
        try:
            sought_id = bytes.fromhex(image_id)
        except ValueError as err:
            raise FairbenchError(f"{image_id!r} is no image_id: take one of the column image_id of images().") from err
        ((_, image),) = self.pictures([sought_id])
        return image

    def pictures(self, image_ids: Iterable[bytes]) -> Iterator[tuple[bytes, Image]]:
        """Yield images with their ids, in the order of the store; each of its files is read once."""
        return pictures.pictures(self._stores(), self.record.keys.images, image_ids)

    def picture_loaders(self, image_ids: Iterable[bytes]) -> Iterator[tuple[bytes, Callable[[], Image]]]:
        """Yield ids with what decodes their images, as `pictures`, for several threads."""
        return pictures.loaders(self._stores(), self.record.keys.images, image_ids)

    def show(self, *, full: bool = False) -> None:
        """Print what the command prints. full: all estimates and metrics, as `fairbench show RUN --full`."""
        self._print(Console(), full=full)

    def _print(self, console: Console, *, full: bool = False) -> None:
        terminal.show(self, console, full=full)

    def __repr__(self) -> str:
        try:
            return super().__repr__()
        except FairbenchError as err:  # a shard of a run has no results yet
            return f"Run({str(self.folder)!r}): {err}"

    def _repr_html_(self) -> str:
        try:
            return super()._repr_html_()
        except FairbenchError:
            return f"<p>{html.escape(repr(self))}</p>"

    @cached_property
    def _prompts(self) -> list[Prompt]:
        return evidence.read_prompts(self.folder)

    def _stores(self) -> Iterator[StoreName]:
        """Yield where the run's images may be."""
        if self._store is not None:
            yield self._store
            return
        if named := os.environ.get("FAIRBENCH_STORE"):
            yield named
        yield from (self.folder.parent / "store", Path("runs/store"))
