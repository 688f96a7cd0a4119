"""Files that get their names only once they are whole and on disk."""

import errno
import os

import pytest

from scripts.lib.files import durable
from scripts.lib.files.durable import WholeFiles, whole_folder


def refuse(monkeypatch, function: str, name: str) -> None:
    """Let a function of the system fail for the temporary file of a name, as a full disk does."""
    real = getattr(os, function)

    def failing(where, *more):
        path = os.readlink(f"/proc/self/fd/{where}") if isinstance(where, int) else str(where)
        if name in path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(where, *more)

    monkeypatch.setattr(durable.os, function, failing)


def test_files_get_their_names_together(tmp_path):
    with WholeFiles() as files:
        for name in ("a", "b"):
            with files.file(tmp_path / name) as stream:
                stream.write(name.encode())
        assert not [path for path in tmp_path.iterdir() if not path.name.endswith(".part")]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "a", "b": "b"}
    assert files.failed == {}


def test_a_file_that_is_written_again_or_discarded(tmp_path):
    with WholeFiles() as files:
        for content in (b"a longer first one", b"second"):
            with files.file(tmp_path / "a") as stream:
                stream.write(content)
        with files.file(tmp_path / "b") as stream:
            stream.write(b"b")
        files.discard(tmp_path / "b")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"second"}


def test_what_was_written_before_a_pause_has_its_name_in_it(tmp_path):
    with WholeFiles() as files:
        with files.file(tmp_path / "a") as stream:
            stream.write(b"a")
        files.name()
        assert [path.name for path in tmp_path.iterdir()] == ["a"]
        with files.file(tmp_path / "a") as stream:
            stream.write(b"again")
    assert (tmp_path / "a").read_bytes() == b"again"


def test_an_error_while_one_is_written_does_not_touch_the_others(tmp_path):
    with WholeFiles() as files:
        with files.file(tmp_path / "a") as stream:
            stream.write(b"a")
        with pytest.raises(ValueError), files.file(tmp_path / "b"):
            raise ValueError
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_error_behind_the_files_does_not_lose_them(tmp_path):
    with pytest.raises(ValueError), WholeFiles() as files:
        with files.file(tmp_path / "a") as stream:
            stream.write(b"a")
        raise ValueError
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_what_the_disk_refuses_is_named_and_the_others_are_kept(tmp_path, monkeypatch, function):
    refuse(monkeypatch, function, ".b.")
    with WholeFiles() as files:
        for name in ("a", "b", "c"):
            with files.file(tmp_path / name) as stream:
                stream.write(name.encode())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]
    assert {path.name: error.errno for path, error in files.failed.items()} == {"b": errno.ENOSPC}


def test_a_folder_has_no_name_if_one_of_its_files_is_not_on_disk(tmp_path, monkeypatch):
    refuse(monkeypatch, "fsync", "/b")
    with pytest.raises(OSError), whole_folder(tmp_path / "folder") as folder:
        (folder / "a").touch()
        (folder / "b").touch()
    assert list(tmp_path.iterdir()) == []
