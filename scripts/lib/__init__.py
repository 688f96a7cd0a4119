"""What the rules' scripts share: domain modules that know no Snakemake and hold no state."""
