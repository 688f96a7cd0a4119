"""Products are published whole, once, and never over another file."""

import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from scripts.lib.delivery.publish import NameTaken, publish, publish_intents, stage
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.records import Intent
from tests.night import NIGHT
from tests.records import product_file, product_of


@pytest.fixture
def other_file_system(monkeypatch):
    """Hard links from one folder to another fail, as between file systems."""
    link = os.link

    def linked(source, target):
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(source, target)

    monkeypatch.setattr(os, "link", linked)


@pytest.fixture(params=["same file system", "another"])
def any_file_system(request):
    if request.param == "another":
        request.getfixturevalue("other_file_system")


def deliver(made: Path, archive: Path) -> dict[str, str]:
    """Publish a product as if none of its name had ever been; return why it could not be."""
    with Ledger(":memory:") as ledger:
        intent = Intent(product_of(made, NIGHT), stage(made, archive, 0o644, ledger))
        ledger.stage([intent], [])
        return publish_intents(ledger, archive, [intent])


def test_delivery_is_whole_and_harmless_to_repeat(tmp_path, any_file_system):
    archive = tmp_path / "archive"
    archive.mkdir()
    made = product_file(tmp_path / "p.fits")
    assert deliver(made, archive) == {}
    assert deliver(made, archive) == {}
    again = product_file(tmp_path / "p.fits", date="2026-01-02T00:00:00.000")
    assert deliver(again, archive) == {}
    assert [path.name for path in archive.iterdir()] == ["p.fits"]


def test_delivery_never_overwrites(tmp_path, any_file_system):
    archive = tmp_path / "archive"
    archive.mkdir()
    product_file(archive / "p.fits", b"\3\4")
    content = (archive / "p.fits").read_bytes()
    failed = deliver(product_file(tmp_path / "p.fits"), archive)
    assert failed["p.fits"].startswith(f"{archive}/p.fits is another file")
    assert (archive / "p.fits").read_bytes() == content
    assert len(list(archive.iterdir())) == 1


@pytest.mark.parametrize("content", [b"\0", b"<html>", b"SIMPLE  =                    T"])
def test_a_foreign_file_of_the_same_size_is_named_and_kept(tmp_path, content):
    archive = tmp_path / "archive"
    archive.mkdir()
    made = tmp_path / "p.fits"
    fits.PrimaryHDU(np.zeros((4, 4), np.int16)).writeto(made, checksum=True)
    foreign = content.ljust(made.stat().st_size, b"\0")
    (archive / "p.fits").write_bytes(foreign)
    with Ledger(":memory:") as ledger:
        intent = Intent(product_of(made, "20260305"), stage(made, archive, 0o644, ledger))
    for earlier in (None, intent.product):
        with pytest.raises(NameTaken, match=re.escape(str(archive / "p.fits"))):
            publish(archive, intent, earlier)
        assert (archive / "p.fits").read_bytes() == foreign
