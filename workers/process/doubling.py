"""A wait that doubles from failure to failure. Pure."""

_MOST_DOUBLINGS = 60


def doubled(first: float, failures: int, most: float) -> float:
    """The wait after this many failures in a row (from 1): `first`, twice that, ... at most `most`."""
    return min(first * 2.0 ** min(max(failures - 1, 0), _MOST_DOUBLINGS), most)
