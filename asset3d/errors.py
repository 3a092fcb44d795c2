"""Every error that asset3d raises on purpose: what is wrong, where, and what to do about it."""
from collections.abc import Iterable
from difflib import get_close_matches


class Asset3DError(Exception):
    """Base of all errors of asset3d. Its text is meant for the user: what, where, what to do."""

    exit_code = 1


class InputError(Asset3DError):
    """Something the user gave is refused: a file, a value, a view set. When a recipe or the first file that is read is
    refused, nothing was written; a later stage leaves what those before it have done."""

    exit_code = 2


class RecipeError(InputError):
    """Every problem of a recipe, one per line, as `file:line:column: path: message`."""


class MissingDependency(InputError):
    """An optional package or tool is asked for by name but not installed."""


class CheckpointError(Asset3DError):
    """A checkpoint is damaged, or belongs to another recipe."""


class DiskFull(Asset3DError):
    """A file could not be written for want of space; what was there before is intact."""


class FolderInUse(InputError):
    """Another process works in the run folder."""


class EmptySurface(Asset3DError):
    """A field has no surface at the level asked for (the text gives the range of its values), or no Gaussian is left
    that can be seen."""


class TooManyIntersections(Asset3DError):
    """Gaussians cover more tiles of the images than the budget allows; the text names the largest one."""

    def __init__(self, message: str, count: int = -1, limit: int = -1, n_bytes: int = -1):
        super().__init__(message)
        self.count = count
        """Pairs of a Gaussian and a tile."""
        self.limit = limit
        self.n_bytes = n_bytes
        """Memory that they would take, with the gradient."""


class Diverged(Asset3DError):
    """A loss or a parameter became non-finite more often than the roll-back budget allows."""

    def __init__(self, message: str, term: str = "", step: int = -1):
        super().__init__(message)
        self.term = term
        """The loss term or parameter that was non-finite first."""
        self.step = step


class Cancelled(Asset3DError):
    """The run was asked to stop (Ctrl-C, SIGTERM, or the host); its last checkpoint is complete."""

    def __init__(self, message: str = "stopped", exit_code: int = 130):
        super().__init__(message)
        self.exit_code = exit_code


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest known name, else `; known: ...`, else nothing."""
    known = sorted(str(k) for k in known)
    close = get_close_matches(str(name)[:100], known, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(known)}" if known else ""
