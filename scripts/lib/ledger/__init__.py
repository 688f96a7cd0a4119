"""The ledger: what is known of every raw frame and every product, the only truth."""
