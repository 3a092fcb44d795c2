"""Every error that asset3d raises on purpose: what is wrong, where, and what to do about it."""


class Asset3DError(Exception):
    """Base of all errors of asset3d. Its text is meant for the user: what, where, what to do."""

    exit_code = 1


class InputError(Asset3DError):
    """Something the user gave is refused: a file, a value, a view set. Nothing was written."""

    exit_code = 2


class RecipeError(InputError):
    """Every problem of a recipe, one per line, as `file:line:column: path: message`."""


class MissingDependency(InputError):
    """An optional package or tool is asked for by name but not installed."""


class CheckpointError(Asset3DError):
    """A checkpoint is damaged, or belongs to another recipe."""


class EmptySurface(Asset3DError):
    """A field has no surface at the level asked for; the text gives the range of its values."""


class Diverged(Asset3DError):
    """A loss or a parameter became non-finite more often than the roll-back budget allows."""


class Cancelled(Asset3DError):
    """The run was asked to stop (Ctrl-C, SIGTERM, or the host); its last checkpoint is complete."""

    exit_code = 130
