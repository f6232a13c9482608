"""The structure of the packages, measured from their own imports."""
