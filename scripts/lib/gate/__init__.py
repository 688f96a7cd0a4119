"""The gate: nothing leaves that ESO or the survey's reader would refuse.

`checks` judges products by the rows of ``config/checks.csv``. What a row cannot say is a function
in a module of checks, registered for the row's id: it gets a `product_file.ProductFile` and
returns what it found wrong, nothing if all is right. The row says what is right.
"""
