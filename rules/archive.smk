"""archive: products go to the archive directory, whole and once.

Needs   a cube, or the frames of a sequence; {night}/frames.csv, {night}/headered/held.csv
Leaves  <archive>/{product}.fits, {night}/archived/{product}.csv (the receipt),
        ledger/{night}.csv
"""


rule archive:
    """Check that a product is whole and what ESO wants, deliver it, write the receipt."""
    input:
        product=product,
        frames="{night}/frames.csv",
        headered="{night}/headered",
        checks=CHECKS,
    output:
        receipt=update("{night}/archived/{product}.csv"),
    log:
        "{night}/logs/archive/{product}.log",
    conda:
        "../envs/archive.yaml"
    params:
        redeliver=config["redeliver"],
        programme=programme,
    script:
        "../scripts/archive.py"
