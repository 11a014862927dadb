"""A graph made faster, behind a gate that its answers have to pass."""
