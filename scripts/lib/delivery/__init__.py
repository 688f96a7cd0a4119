"""From a finished product to ESO's archive: delivery, its records, and whether it arrived."""
