"""Report how the telescopes stand; exit status 1 if something is wrong with one."""

import argparse
import json
import sys
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

from scripts.lib.files.errors import Damaged
from scripts.lib.ledger.ledger import LedgerError
from scripts.lib.reporting.mail import alert, mailed_since
from scripts.lib.running.health import assess, summary
from scripts.lib.settings.check import ConfigurationError, Unchecked
from scripts.lib.settings.passwords import environment, read_environment
from scripts.lib.settings.profile import (
    find_profile,
    installed_telescopes,
    is_set_up,
    read_unchecked,
)
from scripts.migration.earlier_tables import open_ledger

# A run that cannot begin leaves no time of its start; systemd asks for the mail right after it.
LATELY = timedelta(hours=1)
GUIDE = "docs/site-settings.md"


def status_of(telescope: str, now: datetime, mail: bool) -> tuple[dict[str, Any], str]:
    """Return the status of a telescope, for programs and for people."""
    unchecked = Unchecked(telescope)
    with ExitStack() as stack:
        try:
            unchecked = read_unchecked(find_profile(telescope))
            # Each telescope's passwords are its own.
            stack.enter_context(environment(read_environment(unchecked)))
            config = unchecked.checked()
            ledger = stack.enter_context(open_ledger(config.workdir, config.archive))
            health = assess(config, ledger, now)
            content, text, begin = health.as_json(), summary(health, now), health.heartbeat.start
        except Exception as error:  # The trouble of one telescope must not hide the others.
            known = isinstance(error, (ConfigurationError, OSError, Damaged, LedgerError))
            problem = str(error) if known else f"{type(error).__name__}: {error}"
            content = {"telescope": telescope, "ok": False, "problems": [problem]}
            text, begin = f"{telescope}: trouble\n  TROUBLE        {problem}", now - LATELY
        # What is wrong with the configuration need not be what it says of mail.
        if mail and not content["ok"] and not (begin and mailed_since(unchecked, begin)):
            alert(unchecked, "trouble", text)
    return content, text


def main(words: list[str] | None = None) -> int:
    """Print how the telescopes stand."""
    parser = argparse.ArgumentParser(prog="speculoos-archive status", description=__doc__)
    parser.add_argument("telescopes", nargs="*", help="default: all that are set up")
    parser.add_argument("--json", action="store_true", help="print one list, for a monitor")
    parser.add_argument(
        "--mail", action="store_true", help="mail what is wrong, unless the last run mailed"
    )
    given = parser.parse_args(words)
    installed = installed_telescopes()
    idle = [] if given.telescopes else [name for name in installed if not is_set_up(name)]
    named = [name.lower() for name in given.telescopes] or installed
    telescopes = [name for name in named if name not in idle]
    if not telescopes:
        print(f"no telescope is set up: run make install, and see {GUIDE}", file=sys.stderr)
        return 1
    now = datetime.now(UTC)
    found = [status_of(telescope, now, given.mail) for telescope in telescopes]
    if given.json:
        print(json.dumps([content for content, _ in found], indent=1))
    else:
        print("\n".join(text for _, text in found))
        if idle:
            print(f"not set up: {' '.join(idle)} (no file in config/site/, no workdir)")
    return 0 if all(content["ok"] for content, _ in found) else 1


if __name__ == "__main__":
    sys.exit(main())
