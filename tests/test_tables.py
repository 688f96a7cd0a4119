"""Tables and the lines of the transfer log: written, read back, damaged."""

import pytest

from scripts.lib.delivery.transfer_log import log_transfers
from scripts.lib.files.errors import Damaged
from scripts.lib.files.tables import read_table, write_table


@pytest.mark.parametrize(
    "text",
    [
        "#1.fits",
        " #",
        "a,b",
        'q"q',
        "two\nlines",
        "two\n#lines",
        "a\rb",
        "\r",
        "\0",
        "\x85",
        "",
        "ü",
        "'",
    ],
)
def test_tables_are_read_as_they_were_written(tmp_path, text):
    rows = [{"file": text, "reason": "first"}, {"file": "z", "reason": text}]
    write_table(tmp_path / "t.csv", ["file", "reason"], rows)
    assert read_table(tmp_path / "t.csv") == rows


def test_damaged_tables_are_named_with_their_line(tmp_path):
    path = tmp_path / "t.csv"
    for text, line in (
        ("", 1),
        ("a,b", 1),
        ("# x\n", 2),
        ("a,b\n1,2\n3", 3),
        ('# x\na,b\n1,"2\n3"\n4,5,6\n', 5),
        ("a,b\n\0\0", 2),
    ):
        path.write_text(text)
        with pytest.raises(Damaged, match=f"{path}, line {line}: "):
            read_table(path)


def test_the_transfer_log_keeps_lines_that_are_not_its_own(tmp_path):
    log = tmp_path / "transfer_log.txt"
    log_transfers(log, {"20260305": 1})
    assert log.read_text() == "20260305 1\n"
    log.write_bytes(b"# by hand\n20260303 2\n\n20260305  17\n20260306 three\xff\n20260308 4")
    for night, count in (("20260305", 3), ("20260304", 5), ("20260309", 6)):
        log_transfers(log, {night: count})
    assert log.read_bytes() == (
        b"# by hand\n20260303 2\n\n20260306 three\xff\n"
        b"20260304 5\n20260305 3\n20260308 4\n20260309 6\n"
    )
