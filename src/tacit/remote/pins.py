"""Which plans an owner trusts at an address: those that its keys there are for, under whatever name the
provider now serves them.

A pin belongs to what the owner typed and not to what the provider answers: a provider that renames a model,
or says that it is served in the clear and its encrypted form under another name, would else be a stranger
whose plans are trusted on first use (SECURITY.md).
"""

from __future__ import annotations

from tacit.remote.keyring import Entry, Keyring

__all__ = ["pinned", "replaced"]


def pinned(keyring: Keyring, origin: str, *, typed: str, model: str, protection: str) -> tuple[str, ...]:
    """Ids of the plans that may be used for the model that the provider calls ``model``; none before the
    first key.

    ``typed``: the name that the owner gave, empty where it gave none: then every key for this provider
    counts. Raises ``KeyFileError`` for a key file of this place that cannot be read.
    """
    for name in dict.fromkeys((typed, model, f"{typed}-{protection}") if typed else (model,)):
        if entries := keyring.entries(origin, name):
            return entries[0].offer
    if typed:
        return ()
    return tuple(dict.fromkeys(plan for entry in keyring.entries(origin) for plan in entry.offer))


def replaced(keyring: Keyring, origin: str, *, typed: str, model: str) -> list[Entry]:
    """The keys that new ones for a model take the place of; files that cannot be read are not among them."""
    names = {typed or model, model}
    return [e for name in sorted(names) for e in keyring.survey(origin, name).entries]
