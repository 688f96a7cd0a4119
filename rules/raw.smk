"""raw: a night's frames as they left the telescope.

Needs   <source>/<night>/…, the ledger
Leaves  {night}/raw/            the frames, until the night is delivered
        {night}/frames.csv      a row for each: kind, sequence, product, or why it is held back
        in the ledger           what is known of each frame
"""


rule ingest:
    """Copy a night from the source, verified; continue where an earlier copy was cut off."""
    output:
        marker="{night}/raw/complete",
    log:
        "{night}/logs/ingest.log",
    localrule: True
    conda:
        "../envs/ingest.yaml"
    threads: 2
    params:
        work=shown("ingest"),
    script:
        "../scripts/ingest.py"


checkpoint inventory:
    """Read every header of a night once; give each frame its sequence, or the reason against it."""
    input:
        **TABLES,
        marker=raw_to_judge,
        corrections=night_corrections,
    output:
        frames=reported("{night}/frames.csv", "frames"),
    log:
        "{night}/logs/inventory.log",
    localrule: True
    conda:
        "../envs/inventory.yaml"
    threads: 2
    params:
        work=shown("inventory"),
        programme=programme,
        named=named,
    script:
        "../scripts/inventory.py"
