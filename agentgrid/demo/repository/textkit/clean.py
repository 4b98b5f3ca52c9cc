"""Make text comparable."""


def normalise(text: str) -> str:
    """Lower case, with single spaces."""
    return " ".join(text.lower().split())
