"""The keys of one plan in use: found in the key files or made, and brought to the provider when it lacks
them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from tacit.backends.ckks.owner import Owner
from tacit.backends.ckks.public import PublicPlan
from tacit.errors import KeyFileError, TacitError
from tacit.net.envelope import new_client_secret
from tacit.remote.keyring import Entry, Keyring, Secrets
from tacit.remote.session import Session
from tacit.remote.upload import Progress, upload_keys

__all__ = ["Held", "obtain"]


@dataclass(repr=False)
class Held:
    """An owner with its keys at hand. ``evaluation``: the file of evaluation keys, ``digest`` its SHA-256."""

    owner: Owner
    client: bytes
    entry: Entry
    evaluation: Path
    is_new: bool
    uploads: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def digest(self) -> str:
        return self.entry.keys_sha256

    def __repr__(self) -> str:
        return f"<Held key {self.entry.name!r}>"

    def deliver(
        self, session: Session, *, seen: int, timeout_s: float, progress: Progress = lambda done: None
    ) -> bool:
        """Brings the evaluation keys to the provider, unless they were brought since ``seen`` uploads;
        whether it did.

        Requests that run beside each other and all miss the keys upload them once.
        """
        with self._lock:
            if self.uploads > seen:
                return False
            upload_keys(
                session,
                self.evaluation,
                digest=self.digest,
                client=self.client,
                model=self.entry.model,
                plan=self.entry.plan,
                timeout_s=timeout_s,
                progress=progress,
            )
            self.uploads += 1
            return True


def obtain(
    keyring: Keyring,
    plan: PublicPlan,
    *,
    url: str,
    model: str,
    offer: tuple[str, ...],
    threads: int,
    anew: bool = False,
) -> Held:
    """The key for a plan at a provider: from its file, or made and saved. ``anew``: made in any case.

    ``offer``: the plans that are trusted from now on, written into a key that is made.
    """
    if not anew and (held := _restored(keyring, plan, url, model, threads)) is not None:
        return held
    with keyring.lock():
        if not anew and (held := _restored(keyring, plan, url, model, threads)) is not None:
            return held  # another process made it while this one waited
        owner = Owner(plan, threads=threads)
        client = new_client_secret()
        entry = keyring.save(
            Secrets(owner.reveal_secret(), client),
            owner.evaluation_keys(),
            url=url,
            model=model,
            plan=plan.plan_id,
            layout=plan.layout,
            offer=offer,
        )
    return Held(owner, client, entry, keyring.evaluation_path(entry), is_new=True)


def _restored(keyring: Keyring, plan: PublicPlan, url: str, model: str, threads: int) -> Held | None:
    entry = next((e for e in keyring.entries(url, model) if e.plan == plan.plan_id), None)
    if entry is None:
        return None
    kept = keyring.secrets_of(entry)
    try:
        owner = Owner.restore(plan, kept.owner, threads=threads)
    except TacitError as error:
        raise KeyFileError(
            f"the key `{entry.name}` is damaged: {error}", hint="`tacit keys new` makes another"
        ) from error
    evaluation = keyring.evaluation_path(entry)
    if not evaluation.is_file() or evaluation.stat().st_size != entry.keys_bytes:
        entry = keyring.with_evaluation(entry, owner.evaluation_keys())
        evaluation = keyring.evaluation_path(entry)
    owner.key_bytes = entry.keys_bytes
    return Held(owner, kept.client, entry, evaluation, is_new=False)
