"""archive: deliver products to the archive directory, whole and once.

Needs   a cube, or the frames of a sequence; {night}/headers/, the ledger
Leaves  <archive>/{product}.fits, {night}/archived/{product}.csv (the receipt), its ledger records
"""


rule archive:
    """Check that a product is whole and conforms to ESO's rules, publish it, record it."""
    input:
        product=product,
        headers=headers_of_product,
        checks=CHECKS,
    output:
        stamp=f"{{night}}/{STAMPS}/{{product}}",
    log:
        "{night}/logs/archive/{product}.log",
    localrule: True
    conda:
        "../envs/archive.yaml"
    script:
        "../scripts/archive.py"
