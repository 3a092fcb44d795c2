"""Which weights may be used here: the environment variable ASSET3D_MODEL_POLICY.

`commercial` refuses all that may not earn money, and folders that do not say; `research` lets pass what may be used for
research; `any`, the default, lets pass everything, and warns once of weights that are not free to use.
"""
import logging
import os

from asset3d.errors import InputError, did_you_mean

VARIABLE = "ASSET3D_MODEL_POLICY"
COMMERCIAL, NON_COMMERCIAL, RESEARCH_ONLY, UNKNOWN = "commercial", "non-commercial", "research-only", "unknown"
ALLOWED = {"commercial": {COMMERCIAL}, "research": {COMMERCIAL, NON_COMMERCIAL, RESEARCH_ONLY, UNKNOWN},
           "any": {COMMERCIAL, NON_COMMERCIAL, RESEARCH_ONLY, UNKNOWN}}
"""Uses that each policy lets pass."""
FREE = ("CC0-1.0", "MIT", "Apache-2.0", "BSD-3-Clause")
"""Licences that need no `use` beside them."""
_said: set[str] = set()


def current() -> str:
    """The policy that holds.

    Raises:
        InputError: the variable holds another word.
    """
    policy = os.environ.get(VARIABLE) or "any"
    if policy not in ALLOWED:
        raise InputError(f"{VARIABLE}={policy}: no such policy{did_you_mean(policy, ALLOWED)}")
    return policy


def use_of(card: dict) -> str:
    """What a model may be used for, as its card says."""
    return card.get("use") or (COMMERCIAL if card.get("licence") in FREE else UNKNOWN)


def check(name: str, use: str, licence: str, alternative: str | None = None) -> None:
    """Refuse a model that the policy does not allow; warn, once, of one that is not free.

    Raises:
        InputError: it is refused; the text names another model.
    """
    policy = current()
    instead = f"; use {alternative} instead" if alternative else ""
    if use not in ALLOWED[policy]:
        what = "says nothing of its use" if use == UNKNOWN else f"is {use} ({licence})"
        raise InputError(f"model {name} {what}, which {VARIABLE}={policy} refuses{instead}")
    if policy == "any" and use in (NON_COMMERCIAL, RESEARCH_ONLY) and name not in _said:
        _said.add(name)
        logging.getLogger(__name__).warning("model %s is %s (%s)%s", name, use, licence, instead)
