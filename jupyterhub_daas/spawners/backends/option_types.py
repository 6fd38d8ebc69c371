"""Types of what a facility says of a backend or of a profile there, where several backends have it."""

from typing import Annotated

from pydantic import AfterValidator, Field


def _clean(path: str) -> str:
    if not path.startswith("/") or ".." in path.split("/") or (path != "/" and path.endswith("/")):
        raise ValueError("must be an absolute path without '..' and without a final '/'")
    return path


Path = Annotated[str, Field(max_length=4096), AfterValidator(_clean)]
Words = Annotated[tuple[str, ...], Field(min_length=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]

# What goes to programs of another machine has a narrower form.
PlainPath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9_./+@:,=-]*$", max_length=1000)]
PlainWords = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=4000)], ...], Field(min_length=1)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)]
