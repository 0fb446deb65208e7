"""What stops curation."""


class CurationError(Exception):
    """Curation cannot go on; the message names file, row or key, and the remedy."""
