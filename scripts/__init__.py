"""One script per rule, of the rule's name; what they share is in ``scripts.lib``."""
