"""batch: small products, several in one job: made, delivered, removed.

Needs   {night}/frames.csv, {night}/raw/, {night}/headers/, the ledger
Leaves  <archive>/{product}.fits, {night}/archived/{product}.csv (the receipt), its ledger records
"""


rule batch:
    """Do for small sequences what `cube` or `frames`, and then `archive`, do for each large one."""
    input:
        frames="{night}/frames.csv",
        marker="{night}/raw/complete",
        headers=headers,
        checks=CHECKS,
    output:
        stamp=f"{{night}}/{STAMPS}/{BATCH}{{batch}}",
    log:
        "{night}/logs/batch/{batch}.log",
    localrule: True
    conda:
        "../envs/batch.yaml"
    params:
        snapshot=snapshot,
        members=members,
    script:
        "../scripts/batch.py"
