"""The gate: nothing leaves that ESO or the survey's reader would refuse.

`checks` holds products against the table ``config/checks.csv``. What the table cannot say is a
function of `fits`, `identity`, `times`, `coordinates` or `cube`: it gets a
`product_file.ProductFile` and returns what it found wrong, nothing if all is right.
"""
