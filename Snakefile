"""From the raw frames of a telescope's nights to the directory that ESO's archive collects from.

One configuration file per telescope; make install writes a profile for each. What is made where:
README.md.
"""

import os
import sys
from pathlib import Path

from snakemake.utils import min_version

from scripts.lib.running.one_night import own_settings
from scripts.lib.settings.check import ConfigurationError, Layer, checked
from scripts.lib.settings.profile import read_layers

min_version("9.27.1")


# Snakemake would cut the setting there, as YAML does with a comment.
if cut := [word for word in sys.argv if " #" in word.partition("=")[2]]:
    raise WorkflowError(f"{cut[0]}: a setting on the command line cannot hold ' #'")


include: "rules/snakemake_internals.smk"


# The site's own settings stand between the files and the command line. Not by Snakemake's own
# check, which shows passwords that stand in an address.
try:
    config |= checked(*read_layers(named_files()), Layer("--config", named_settings()))
    config |= own_settings(os.environ)
except ConfigurationError as error:
    raise WorkflowError(str(error))

# Snakemake would make it with its parents, on whatever disk is there.
if not (above := Path(config["workdir"]).parent).is_dir():
    raise WorkflowError(f"workdir: the directory {above} does not exist; is its disk mounted?")


workdir: config["workdir"]


report: "docs/report/overview.rst"


wildcard_constraints:
    night=r"\d{8}",
    start=r"\d{8}T\d{6}",
    instrument="[A-Z0-9-]+",
    sequence="[SC]_[A-Za-z0-9.+_-]+",
    product="[A-Z0-9][A-Za-z0-9.+_-]+",
    batch="[A-Z0-9][A-Za-z0-9.+_-]+",
    group="[SC]",


include: "rules/common.smk"
include: "rules/raw.smk"
include: "rules/solve.smk"
include: "rules/header.smk"
include: "rules/products.smk"
include: "rules/archive.smk"
include: "rules/batch.smk"
include: "rules/night.smk"
include: "rules/confirm.smk"


rule all:
    """Bring the wanted nights up to date; confirm earlier ones at ESO."""
    default_target: True
    input:
        wanted_tables,
        wanted_pages,
        wanted_confirmations,
    localrule: True


onstart:
    begin(nights_of_jobs())
    start_at_any_rate()
    prepare_submission(run_name(SETTINGS.telescope, Path(), os.getpid()))


onsuccess:
    end_run(True, log)


onerror:
    end_run(False, log)
