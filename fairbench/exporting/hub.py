"""`--to hub:REPO`: a run as a data set on the Hugging Face hub, in a repository that only its owner sees.

A push that was cut off goes on where it was when the same command is given again: the hub knows what it has, and
nothing about it is kept in the folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from fairbench.errors import FairbenchError
from fairbench.exporting import croissant, hf_dataset
from fairbench.exporting import dataset_tables as tables
from fairbench.exporting.job import MARKER, Job
from fairbench.networks import hub
from fairbench.storage import folders

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_REPO: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_OURS: Final = {MARKER, hf_dataset.CROISSANT}
"""Files by which a repository is known to hold an export."""
_LOGIN: Final = "log in with `hf auth login`, or set HF_TOKEN"


def write(job: Job) -> str:
    """Write the folder of a data set, push it, and return its address.

    Raises FairbenchError where the hub cannot be reached or refuses, and for a repository that is public or holds
    something else.
    """
    from huggingface_hub import HfApi, constants, get_token

    repo = job.target
    if not _REPO.fullmatch(repo):
        raise FairbenchError(f"--to hub:{repo}: name a repository as OWNER/NAME (letters, digits, - _ .).")
    if hub.offline():
        raise FairbenchError(
            f"--to hub:{repo}: downloads and uploads are turned off; unset FAIRBENCH_OFFLINE and HF_HUB_OFFLINE."
        )
    if not get_token():
        raise FairbenchError(f"--to hub:{repo}: there is no token of the hub here: {_LOGIN}.")
    folder = hf_dataset.write(replace(job, name="hf-dataset", target=""), repo)
    try:
        _push(HfApi(endpoint=constants.ENDPOINT), repo, replace(job, out=folder))
    except FairbenchError:
        raise
    except Exception as err:  # noqa: BLE001 - whatever the library raises becomes one sentence
        # The library's message may hold what it sent; the sentence is made of status and the server's own words.
        raise FairbenchError(_sentence(err, repo, constants.ENDPOINT)) from None
    return croissant.address(repo)


def _push(api: HfApi, repo: str, job: Job) -> None:
    api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
    info = api.dataset_info(repo)
    if info.private is not True:
        raise FairbenchError(
            f"--to hub:{repo}: this repository is public, and exports go to private ones: name another, or make it "
            "private in its settings; what is pushed can be made public there."
        )
    there = {file.rfilename for file in info.siblings or ()}
    if there - {".gitattributes"} and not there >= _OURS:
        raise FairbenchError(f"--to hub:{repo}: this repository holds something else than an export: name a new one.")
    sent = folders.files(job.folder, rf"{re.escape(MARKER)}|{hf_dataset.FILES}")
    if not job.with_images:
        sent = [name for name in sent if name != tables.IMAGES]
    api.upload_folder(
        repo_id=repo,
        repo_type="dataset",
        folder_path=job.folder,
        allow_patterns=sent,
        delete_patterns=[tables.LABELS, tables.IMAGES],
        commit_message=f"fairbench export of run {job.content.record.run_id}",
    )


def _sentence(err: Exception, repo: str, server: str) -> str:
    """Return what went wrong and what to do, in one sentence."""
    answered = next((cause for cause in _causes(err) if getattr(cause, "response", None) is not None), None)
    status = None if answered is None else answered.response.status_code
    said = getattr(answered, "server_message", None)
    reason = f" ({' '.join(str(said).split())[:200].rstrip('.')})" if said else ""
    start = f"--to hub:{repo}: "
    if status == 401:
        return f"{start}{server} refuses the token{reason}: {_LOGIN}, with a token that may write."
    if status == 402 or (status == 403 and re.search(r"storage|quota|limit", str(said), re.IGNORECASE)):
        return f"{start}the space of this account is used up{reason}: free some, or push without --with-images."
    if status == 403:
        return f"{start}this token may not write there{reason}: name a repository of your own, or {_LOGIN}."
    if status == 404:
        return f"{start}{server} knows no such owner or repository{reason}: fix the name, or {_LOGIN}."
    if status == 429:
        return f"{start}{server} takes no more requests for now{reason}: give the same command again later."
    if status is None and any(map(hub.unreachable, _causes(err))):
        return f"{start}{server} cannot be reached: check the network, and give the same command again."
    what = f"answered {status}" if status else f"could not be written to ({type(err).__name__})"
    return f"{start}{server} {what}{reason}: give the same command again, which goes on where it was."


def _causes(err: BaseException | None) -> Iterator[Any]:
    """Yield an error and those that it was raised from."""
    while err is not None:
        yield err
        err = err.__cause__
