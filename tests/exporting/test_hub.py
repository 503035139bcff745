"""`export --to hub:REPO` against a local server that speaks the hub's endpoints."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import pytest

from tests.builders.cli import Cli
from tests.builders.hub_server import TOKEN, HubServer

PNG = b"\x89PNG\r\n\x1a\n"
REPO = "me/even-or-not"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("large", [(), (".parquet",)])
def test_a_push_sends_the_folder_byte_for_byte_and_no_picture(
    run: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    large: tuple[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    with HubServer(large).used_by(monkeypatch, xet=not large) as hub:
        result = cli("export", run, "--to", f"hub:{REPO}", "--out", "data set").succeeded()
        sent = dict(hub.files[REPO])
        received = hub.received()
    assert f"{hub.url}/datasets/{REPO}" in result.out
    del sent[".gitattributes"]
    assert sent == contents(tmp_path / "data set")
    assert set(sent) == {"README.md", "croissant.json", "export.json", "data/labels.parquet"}
    assert hub.private == {REPO: True}
    assert not any(PNG in data for data in received)
    assert bool(hub.stored) is bool(large)
    assert json.loads(sent["croissant.json"])["url"] == f"{hub.url}/datasets/{REPO}"
    assert {token for call, token in hub.tokens.items() if REPO in call} == {f"Bearer {TOKEN}"}
    assert set(hub.tokens.values()) <= {f"Bearer {TOKEN}", None}
    seen = [result.out.encode(), result.err.encode(), caplog.text.encode(), *contents(tmp_path).values(), *received]
    assert not any(TOKEN.encode() in text for text in seen)


def test_pictures_are_sent_when_asked_for_and_taken_away_again(
    run: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with HubServer().used_by(monkeypatch) as hub:
        cli("export", run, "--to", f"hub:{REPO}", "--with-images", "--out", "a").succeeded()
        assert sum(PNG in data for data in hub.received()) > 0  # the check of the test above can fail
        assert hub.files[REPO]["data/images.parquet"] == (tmp_path / "a/data/images.parquet").read_bytes()
        cli("export", run, "--to", f"hub:{REPO}", "--out", "a").succeeded()
        assert "data/images.parquet" not in hub.files[REPO]
        assert not (tmp_path / "a/data/images.parquet").exists()


def test_files_of_the_user_in_the_folder_stay_at_home(
    run: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with HubServer().used_by(monkeypatch) as hub:
        cli("export", run, "--to", "hf-dataset", "--out", "a").succeeded()
        (tmp_path / "a" / "data" / "diary.parquet").write_bytes(b"secret")
        (tmp_path / "a" / "diary.txt").write_bytes(b"secret")
        cli("export", run, "--to", f"hub:{REPO}", "--out", "a").succeeded()
        assert not any(b"secret" in data for data in hub.received())
        assert (tmp_path / "a" / "diary.txt").exists()


def test_a_push_that_was_cut_off_goes_on(run: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with HubServer((".parquet",)).used_by(monkeypatch, xet=False) as hub:
        hub.fail["/commit/"] = (500, "The disk is on fire")
        result = cli("export", run, "--to", f"hub:{REPO}", "--out", "a")
        assert result.code == 2
        assert "answered 500 (The disk is on fire): give the same command again" in result.err
        hub.fail.clear()
        hub.calls.clear()
        cli("export", run, "--to", f"hub:{REPO}", "--out", "a").succeeded()
        assert not [call for call in hub.calls if call.startswith("PUT")]  # the server had the file already
        assert hub.files[REPO]["data/labels.parquet"] in hub.stored.values()


@pytest.mark.parametrize(
    ("where", "status", "words", "says"),
    [
        ("/api/", 401, "Invalid credentials", "refuses the token (Invalid credentials): log in"),
        ("/api/repos/create", 403, "You don't have the rights", "this token may not write there (You don't have the"),
        ("/commit/", 403, "Private repository storage limit reached", "the space of this account is used up"),
        ("/api/repos/create", 404, "No such namespace", "knows no such owner or repository"),
        ("/api/repos/create", 429, "Slow down", "takes no more requests for now (Slow down)"),
        ("/validate-yaml", 400, "odd", "answered 400"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(
    run: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, where: str, status: int, words: str, says: str
) -> None:
    with HubServer().used_by(monkeypatch) as hub:
        hub.fail[where] = (status, words)
        result = cli("export", run, "--to", f"hub:{REPO}", "--out", "a", "--quiet")
    assert (result.code, result.out) == (2, "")
    assert says in result.err
    assert "Traceback" not in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert TOKEN not in result.err


def test_what_can_be_known_before_anything_is_sent(
    run: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(target: str) -> str:
        result = cli("export", run, "--to", f"hub:{target}", "--out", "a")
        assert result.code == 2
        assert not (tmp_path / "a").exists()
        return result.err

    assert "HF_HUB_OFFLINE" in refused(REPO)
    with HubServer().used_by(monkeypatch, token=None) as hub:
        assert "no token" in refused(REPO)
        for target in ("one-part", "a/b/c", "../x", "me/", "me/[/red]\x1b"):
            assert "OWNER/NAME" in refused(target)
        assert not hub.calls


def test_a_hub_that_is_not_there(run: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with HubServer().used_by(monkeypatch) as hub:
        pass
    result = cli("export", run, "--to", f"hub:{REPO}", "--out", "a")
    assert result.code == 2
    assert f"{hub.url} cannot be reached" in result.err


def test_other_peoples_repositories_are_left_alone(run: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {".gitattributes": b"", "README.md": b"mine"}
    with HubServer().used_by(monkeypatch) as hub:
        hub.files[REPO], hub.private[REPO] = dict(theirs), True
        result = cli("export", run, "--to", f"hub:{REPO}", "--out", "a")
        assert (result.code, hub.files[REPO]) == (2, theirs)
        assert "holds something else than an export" in result.err
        hub.files[REPO], hub.private[REPO] = {".gitattributes": b""}, False
        result = cli("export", run, "--to", f"hub:{REPO}", "--out", "a")
        assert (result.code, len(hub.files[REPO])) == (2, 1)
        assert "is public" in result.err


def test_the_hash_of_every_file_is_told(with_pictures: Path) -> None:
    files = contents(with_pictures)
    hashes = json.loads(files.pop("export.json"))["sha256"]
    assert hashes == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
