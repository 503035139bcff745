"""A dataset folder described for machines: Croissant 1.0 with the fields of its RAI vocabulary.

Sources: the Croissant format, https://docs.mlcommons.org/croissant/docs/croissant-spec.html, and its vocabulary for
responsible AI, https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairbench.exporting import dataset_card, responsible
from fairbench.exporting import dataset_tables as tables
from fairbench.exporting.job import Job
from fairbench.reporting import paper

if TYPE_CHECKING:
    import pandas as pd

CONFORMS_TO: Final = ("http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0")
_OWN: Final = (
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet", "format"),
    *("includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
)
"""Words of Croissant's own vocabulary."""
_CONTEXT: Final = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{name: f"cr:{name}" for name in _OWN},
}
_TYPES: Final = {"sample_index": "sc:Integer", "seed": "sc:Integer", "face": "sc:Integer", "counted": "sc:Boolean"}
_OF_FILES: Final = {"labels": "a row per face, or per image without a face", "images": "the pictures"}


def describe(
    job: Job,
    labels: pd.DataFrame,
    files: Mapping[str, str],
    hashes: Mapping[str, str],
    *,
    date: datetime.date,
    repo: str = "",
) -> dict[str, Any]:
    """Return the description as JSON-LD.

    labels: the table; files: config -> its file in the folder; hashes: config -> the file's sha256 (hex); date: of this
    export; repo: the repository of the hub that it is made for, if it is.
    """
    record = job.content.record
    licences = [f"of the {part}: {licence}" for part, licence in dataset_card.licences(job).items()]
    owner = {"@type": "sc:Organization", "name": repo.partition("/")[0]}
    published = {"url": address(repo), "creator": owner} if repo else {}
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": list(CONFORMS_TO),
        "name": f"fairbench-{record.run_id[:12]}",
        "alternateName": f"{job.content.name}: labels of {record.task.name}",
        "description": f"What fairbench measured of {job.content.name}. {paper.methods(job.content)} {job.label_note}",
        "license": licences,
        "version": "1.0.0",
        "datePublished": date.isoformat(),
        "citeAs": paper.bibtex(job.content),
        "keywords": ["fairness", "bias", "text-to-image", "perceived presentation"],
        **published,
        **{f"rai:{name}": said for name, said in responsible.fields(job, labels, files).items()},
        "distribution": [_file(config, path, hashes[config]) for config, path in files.items()],
        "recordSet": [_records(job, labels, config) for config in files],
    }


def address(repo: str) -> str:
    """Return the address of a data set's page on the hub."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/datasets/{repo}"


def _file(config: str, path: str, sha256: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": f"{config}.parquet",
        "name": f"{config}.parquet",
        "description": _OF_FILES[config],
        "contentUrl": path,
        "encodingFormat": "application/x-parquet",
        "sha256": sha256,
    }


def _records(job: Job, labels: pd.DataFrame, config: str) -> dict[str, Any]:
    meanings = tables.meanings(job.content.attributes)
    columns = list(labels.columns) if config == "labels" else ["image", *tables.OF_IMAGES, "width", "height"]
    fields = [_field(config, column, labels, meanings[column]) for column in columns]
    key = {"key": {"@id": "images/image_id"}} if config == "images" else {}
    named = {"@id": config, "name": config, "description": _OF_FILES[config]}
    return {"@type": "cr:RecordSet", **named, **key, "field": fields}


def _field(config: str, column: str, labels: pd.DataFrame, meaning: str) -> dict[str, Any]:
    source: dict[str, Any] = {"fileObject": {"@id": f"{config}.parquet"}, "extract": {"column": column}}
    kind: dict[str, Any] = {"dataType": _type(column, labels)}
    if column == "image":
        source["transform"] = {"jsonPath": "bytes"}
    if column == "box":
        kind["repeated"] = True
    name = field_id(config, column, labels)
    return {"@type": "cr:Field", "@id": name, "name": name, "description": meaning, **kind, "source": source}


def field_id(config: str, column: str, labels: pd.DataFrame) -> str:
    """Return the id of a column's field, an IRI: what may not stand in one, as in the name of a class, is left out.

    Where that has changed the name, the column's number tells it from others.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", column)
    if plain != column:
        plain = f"{plain}-{list(labels.columns).index(column)}"
    return f"{config}/{plain}"


def _type(column: str, labels: pd.DataFrame) -> str:
    if column == "image":
        return "sc:ImageObject"
    if column in ("width", "height"):
        return "sc:Integer"
    if column == "box" or (column in labels and labels[column].dtype == np.float64):
        return "sc:Float"
    return _TYPES.get(column, "sc:Text")
