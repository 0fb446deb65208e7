"""What people said of responses, for those who only look: the one reader of annotations outside the cold start."""

from pathlib import Path

from tasks.curation.annotation import Annotation, AnnotationError, read_annotations
from tasks.provenance.artifacts import ArtifactError


def reviewed(file: Path) -> list[Annotation]:
    """The annotations of a file, one a line and in its order; none where there is no file. ArtifactError names each fault."""
    if not Path(file).is_file():
        return []
    try:
        return read_annotations(file)
    except AnnotationError as error:
        raise ArtifactError(str(error)) from None
