"""Correction files."""

import re

import pytest

from scripts.lib.fits.cards import (
    Header,
    card,
    parse_comment,
    quoted,
)
from scripts.lib.frames.corrections import corrected, read_corrections


def test_corrections(tmp_path):
    path = tmp_path / "io_20260305.yaml"
    assert read_corrections(path) == []
    path.write_text("- {files: 'a*', reason: wrong, set: {FILTER: J, OLD: null, NEW: 2}}\n")
    header = Header([card("FILTER", quoted("z"), "filter"), card("OLD", "1")])
    new = corrected(header, "a.fits", read_corrections(path))
    assert [new.value(k) for k in ("FILTER", "OLD", "NEW")] == ["J", None, 2]
    assert parse_comment(new.images[0]) == "filter"
    assert corrected(header, "b.fits", read_corrections(path)).images == header.images


@pytest.mark.parametrize("keyword", ["filter", "TOOLONGKEY", "A B", "FÜR"])
def test_corrections_of_invalid_keywords_are_refused(tmp_path, keyword):
    path = tmp_path / "io_20260305.yaml"
    path.write_text(f"- {{files: '*', reason: wrong, set: {{'{keyword}': J}}}}\n")
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_corrections(path)


def test_a_date_in_a_correction_needs_no_quotes(tmp_path):
    path = tmp_path / "io_20260305.yaml"
    path.write_text("- {files: '*', reason: clock, set: {DATE-OBS: 2026-03-06T00:01:02.345678}}\n")
    header = Header([card("DATE-OBS", quoted("2026-03-05T00:00:00"))])
    new = corrected(header, "a.fits", read_corrections(path))
    assert new.value("DATE-OBS") == "2026-03-06T00:01:02.345678"


@pytest.mark.parametrize("value", [True, 1, 2.5, "J'", "2026-03-06T00:01:02.345"])
def test_corrections_keep_the_type_of_their_value(tmp_path, value):
    path = tmp_path / "io_20260305.yaml"
    text = quoted(value) if isinstance(value, str) else str(value).lower()
    path.write_text(f"- {{files: '*', reason: wrong, set: {{KEY: {text}}}}}\n")
    found = corrected(Header([]), "a.fits", read_corrections(path)).value("KEY")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("text", [".nan", "[1, 2]", "{a: 1}"])
def test_what_no_card_can_have_is_refused(tmp_path, text):
    path = tmp_path / "io_20260305.yaml"
    path.write_text(f"- {{files: '*', reason: wrong, set: {{KEY: {text}}}}}\n")
    with pytest.raises(ValueError, match="KEY: .* is not a value that a card can have"):
        read_corrections(path)


@pytest.mark.parametrize("text", ["# nothing yet\n", "- files: [\n", "- {files: a"])
def test_invalid_correction_files_are_refused_by_name(tmp_path, text):
    path = tmp_path / "io_20260305.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_corrections(path)
