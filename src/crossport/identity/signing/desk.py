"""The signer's judgement: what it is asked, whether that may be, and the answer."""

import base64
import binascii
import hashlib
from dataclasses import field, replace

from crossport import errors
from crossport.audit import head as heads
from crossport.identity import role_document as roles
from crossport.identity import root_step
from crossport.identity import statement as statements
from crossport.identity.signing.conversion_judge import judge_conversion
from crossport.identity.signing.placed import PlacedSigner, SealPlace
from crossport.identity.signing.question import (
    VERSION,
    Answer,
    AskConversion,
    AskHead,
    AskKeys,
    AskRevoke,
    AskRotate,
    AskSeal,
    AskStatement,
    Question,
)
from crossport.identity.signing.seal_judge import Standards, judge
from crossport.identity.signing.vault import Done, Vault
from crossport.model import codec
from crossport.model.conversion import ConversionApproval
from crossport.model.failure import Failure
from crossport.model.head import Witnessed
from crossport.model.keyring import Key, KeyRole
from crossport.model.record import record
from crossport.model.role import RoleDocument, RootStep
from crossport.model.sealing import Approval, SealSignature
from crossport.model.statement import pae
from crossport.spi.clock import Clock
from crossport.spi.signer import Signer

__all__ = ["MAX_KEYS", "Authority", "Desk", "Start"]

OWN = (KeyRole.SEAL, KeyRole.AUDIT, KeyRole.TICKET, KeyRole.PERMIT)
"""The roles whose keys the signer makes and holds, one key each."""
MAX_KEYS = 150


@record()
class Authority:
    """The site's name, the key of its certificate authority, and the secret (hex) of approvals.

    ``others`` are keys of authorities that vouch for it to partners beside that one.
    """

    site: str
    key: Key
    approvals: str = field(repr=False)
    others: tuple[Key, ...] = ()


@record()
class Start:
    """What the signer is told before the first question, over its standard input."""

    authority: Authority
    seal: SealPlace | None = None


class Desk:
    """Answers questions, one after the other. The control plane is asked nothing and believed little."""

    def __init__(
        self, vault: Vault, authority: Authority, clock: Clock, placed: PlacedSigner | None = None
    ) -> None:
        """Seal with the key ``placed``, where there is one, and not with one of the vault."""
        self._vault = vault
        self._authority = authority
        self._clock = clock
        self._placed = placed

    def answer(self, question: bytes) -> Answer:
        """Return the answer to a question as it came; a refusal is an answer too."""
        try:
            envelope = self._answered(question)
        except errors.Error as error:
            return Answer(failure=Failure.of(error))
        return Answer(value=base64.b64encode(envelope).decode())

    def _answered(self, question: bytes) -> bytes:
        asked = codec.decoded(question, Question)
        if asked.version > VERSION:
            raise errors.Conflict(
                "signer.version.newer", "This is a question of a newer Crossport.", remedy=errors.SAME_RELEASE
            )
        document = self._current()
        if isinstance(asked.ask, AskSeal):
            return self._sealed(asked.ask, document)
        if isinstance(asked.ask, AskConversion):
            return self._attested(asked.ask, document)
        if isinstance(asked.ask, AskStatement):
            return self._stated(asked.ask, document)
        if isinstance(asked.ask, AskHead):
            return self._headed(asked.ask, document)
        if not isinstance(asked.ask, AskKeys):
            document = self._changed(asked.ask, document)
        return self._vault.document() or self._kept(document)

    def _changed(self, ask: AskRotate | AskRevoke, document: RoleDocument) -> RoleDocument:
        if ask.version != document.version:
            raise errors.Conflict(
                "key.document.changed",
                f"The role document is version {document.version} by now, no longer {ask.version}.",
                remedy="Look at it again, crossport key list, and decide anew.",
            )
        if isinstance(ask, AskRotate):
            changed = self._rotated(ask, document)
        else:
            changed = self._revoked(ask.request.key, document)
        self._kept(changed)
        return changed

    def _rooted(self, document: RoleDocument) -> RoleDocument:
        """Return the next version, which a new root signs, and which carries the step from the one before."""
        now, before = self._clock.wall(), self._vault.root()
        after = self._vault.next_root()
        step = RootStep(
            site=document.site,
            number=root_step.last_number(document.roots) + 1,
            before=roles.public(before),
            after=roles.public(after),
            made=now,
        )
        signed = root_step.stepped(step, before, after)
        what = f"step {step.number} to the root that follows"
        self._vault.note(Done(at=now, what=what, key=before.key_id, of=after.key_id))
        steps = root_step.with_step(document.roots, signed)
        return roles.changed(replace(document, root=step.after, roots=steps), now, document.keys)

    def _sealed(self, ask: AskSeal, document: RoleDocument) -> bytes:
        approval, payload, standards = ask.approval, _decoded(ask.payload), self._standards()
        judge(approval, ask.claims, payload, standards)
        what = f"seal of run {approval.run} for {approval.importer}"
        return self._signed_once(approval, payload, what, document, standards.now)

    def _attested(self, ask: AskConversion, document: RoleDocument) -> bytes:
        approval, payload, standards = ask.approval, _decoded(ask.payload), self._standards()
        judge_conversion(approval, ask.proof, _decoded(ask.proof.sealed), payload, standards)
        what = f"conversion in run {approval.run} of {approval.seal}"
        return self._signed_once(approval, payload, what, document, standards.now)

    def _standards(self) -> Standards:
        ours = self._authority
        return Standards(ours.site, ours.key.der(), bytes.fromhex(ours.approvals), self._clock.wall())

    def _signed_once(
        self,
        approval: Approval | ConversionApproval,
        payload: bytes,
        what: str,
        document: RoleDocument,
        now: float,
    ) -> bytes:
        """Spend the approval, note what is signed, and sign it with the seal key."""
        signer = self.sealing(document, now)
        if not self._vault.spend(approval.nonce, now, approval.expires):
            raise errors.Refused(
                "signer.approval.used",
                "The signer does not sign this. The approval was used before.",
                remedy="Have the run approved anew, with another nonce.",
            )
        of = hashlib.sha256(payload).hexdigest()
        self._vault.note(Done(at=now, what=what, key=signer.key_id, of=of))
        signature = base64.b64encode(signer.sign(pae(payload))).decode()
        return codec.encoded(SealSignature(key=signer.key_id, signature=signature)).encode()

    def sealing(self, document: RoleDocument, now: float) -> Signer:
        """Return who seals now: the placed signer, as soon as its day has come."""
        placed = self._placed
        listed = next((key for key in document.keys if placed and key.id() == placed.key_id), None)
        if placed and listed and listed.revoked is not None:
            raise errors.Refused(
                "signer.place.revoked",
                f"The seal key at {placed.place} is revoked.",
                field="seal_key",
                remedy="Make another key there, and name it by the setting seal_key.",
            )
        if placed and listed and listed.valid_from <= now:
            return placed
        key = self._own_seal_key(document, now)
        if key is None:
            raise RuntimeError("the current document has a key for each role")
        return self._vault.signer(key.id())

    def _own_seal_key(self, document: RoleDocument, now: float) -> Key | None:
        """Return the key that seals now of those whose file lies here."""
        own = tuple(key for key in document.keys if not self._vault.lies_elsewhere(key.id()))
        return roles.signing_key(replace(document, keys=own), KeyRole.SEAL, now)

    def _stated(self, ask: AskStatement, document: RoleDocument) -> bytes:
        now, payload = self._clock.wall(), _decoded(ask.payload)
        stated = statements.judged(payload, self._authority.site)
        key = roles.signing_key(document, KeyRole.PERMIT, now)
        if key is None:
            raise RuntimeError("the current document has a key for each role")
        said = stated.statement
        what = f"{said.kind} of run {said.run} of {stated.initiator} to {stated.to}"
        self._vault.note(Done(at=now, what=what, key=key.id(), of=hashlib.sha256(payload).hexdigest()))
        signed = statements.signed(payload, self._vault.signer(key.id()))
        return codec.encoded(signed).encode()

    def _headed(self, ask: AskHead, document: RoleDocument) -> bytes:
        now, site = self._clock.wall(), self._authority.site
        head = ask.head if ask.head.site != site else replace(ask.head, time=now)
        last = self._vault.head(head.site)
        known = heads.head_of(last)[0] if last else None
        if last and known and known.size != ask.since:
            return codec.encoded(last).encode()
        heads.judge(known, head, ask.proof)
        if abs(head.time - now) > heads.CLOCKS_S:
            raise errors.Refused(
                "audit.head.clock",
                f"The clocks of {site} and {head.site} are {abs(head.time - now):.0f} s apart.",
                remedy="Set the clock that is wrong; nothing was signed.",
            )
        key = roles.signing_key(document, KeyRole.AUDIT, now)
        if key is None:
            raise RuntimeError("the current document has a key for each role")
        what = head if head.site == site else Witnessed(witness=site, time=now, head=head)
        signed = heads.signed(what, self._vault.signer(key.id()))
        told = f"audit log of {head.site}, {head.size} records"
        self._vault.note(Done(at=now, what=told, key=key.id(), of=head.root))
        self._vault.keep_head(head.site, signed)
        return codec.encoded(signed).encode()

    def _rotated(self, ask: AskRotate, document: RoleDocument) -> RoleDocument:
        role, now = ask.request.role, self._clock.wall()
        if role == "root":
            return self._rooted(document)
        if role is KeyRole.SEAL and self._placed:
            raise errors.Conflict(
                "key.place.elsewhere",
                f"The seal key lies at {self._placed.place}, where the signer makes none.",
                field="role",
                remedy="Make a new key there, name it by the setting seal_key, and start the server anew.",
            )
        if len(document.keys) >= MAX_KEYS:
            raise errors.Conflict(
                "key.many",
                f"The site has {len(document.keys)} keys already.",
                field="role",
                remedy="Wait until the oldest are past their end.",
            )
        since = now
        if not ask.request.at_once:
            roles.require_settled(document, role, now)
            since = now + roles.LEAD_S
        return roles.with_key(document, self._listed(self._vault.made(), role, since), now)

    def _revoked(self, id_: str, document: RoleDocument) -> RoleDocument:
        now = self._clock.wall()
        changed = roles.revoked(document, id_, now)
        role = next(key.role for key in document.keys if key.id() == id_)
        if role not in OWN:
            raise _fixed(role)
        if roles.signing_key(changed, role, now):
            return changed
        if role is KeyRole.SEAL and self._placed:
            return replace(changed, keys=_at_once(changed.keys, self._placed.key_id, now))
        keys = _at_most(MAX_KEYS - 1, changed.keys)
        return roles.changed(document, now, (*keys, self._listed(self._vault.made(), role, now)))

    def _current(self) -> RoleDocument:
        """Return the document that holds now; the first one, and one that grew old, is signed anew."""
        now, kept = self._clock.wall(), self._vault.document()
        root = self._vault.root()
        if kept is None:
            return self._first(root, now)
        document = roles.believed(kept, self._authority.site, root.public_key(), 0.0, None)
        if document.root != roles.public(root):
            self._vault.follow_root()  # the signer died after it had kept the first document of a new root
        known = {key.id() for key in document.keys}
        authorities = (self._authority.key, *self._authority.others)
        told = {key.id(): key for key in authorities}
        keys = tuple(_as_told(key, told.get(key.id(), key)) for key in document.keys if now < key.valid_until)
        keys = (*keys, *(key for key in authorities if key.id() not in known and now < key.valid_until))
        keys = self._with_placed(keys, now, seals=self._own_seal_key(document, now) is not None)
        for role in OWN:
            if self._lacks(document, role, now):
                keys = (*keys, self._listed(self._vault.made(), role, now))
        if keys == document.keys and not roles.is_stale(document, now):
            return document
        document = roles.changed(document, now, keys)
        self._kept(document)
        return document

    def _lacks(self, document: RoleDocument, role: KeyRole, now: float) -> bool:
        """Say whether no key signs in this role, or one does that lies where nobody reaches it any more."""
        if role is KeyRole.SEAL and self._placed:
            return False
        key = roles.signing_key(document, role, now)
        return key is None or self._vault.lies_elsewhere(key.id())

    def _with_placed(self, keys: tuple[Key, ...], now: float, *, seals: bool) -> tuple[Key, ...]:
        """List the placed key while it is named, a day before it seals where one of the vault ``seals``."""
        placed = self._placed
        if placed is None:
            return keys
        listed = next((key for key in keys if key.id() == placed.key_id), None)
        if listed is None:
            return (*keys, self._listed(placed, KeyRole.SEAL, now + roles.LEAD_S if seals else now))
        if listed.revoked is None and listed.valid_until - now < roles.KEY_LIFETIME_S / 2:
            longer = replace(listed, valid_until=now + roles.KEY_LIFETIME_S)
            return tuple(longer if key is listed else key for key in keys)
        return keys

    def _first(self, root: Signer, now: float) -> RoleDocument:
        own = [role for role in OWN if not (role is KeyRole.SEAL and self._placed)]
        made = tuple(self._listed(self._vault.made(), role, now) for role in own)
        made = self._with_placed(made, now, seals=False)
        document = RoleDocument(
            site=self._authority.site,
            version=1,
            root=roles.public(root),
            issued=now,
            expires=now + roles.DOCUMENT_LIFETIME_S,
            keys=(self._authority.key, *self._authority.others, *made),
        )
        self._kept(document)
        return document

    def _kept(self, document: RoleDocument) -> bytes:
        """Sign a document, and keep it before anybody sees it; its root is the site's from then on."""
        root = self._vault.root()
        follows = document.root != roles.public(root)
        root = self._vault.next_root() if follows else root
        envelope = roles.signed(document, root)
        what = f"role document {document.version}"
        self._vault.note(Done(at=self._clock.wall(), what=what, key=root.key_id, of=roles.digest(envelope)))
        self._vault.keep(envelope)
        if follows:
            self._vault.follow_root()
        return envelope

    def _listed(self, signer: Signer, role: KeyRole, since: float) -> Key:
        return Key(
            public_key=roles.public(signer),
            algorithm=signer.algorithm,
            site=self._authority.site,
            role=role,
            valid_from=since,
            valid_until=since + roles.KEY_LIFETIME_S,
        )


def _as_told(key: Key, told: Key) -> Key:
    """Return an authority's key as the control plane has it now: never good for longer than was listed."""
    revoked = key.revoked if key.revoked is not None else told.revoked
    return replace(key, revoked=revoked, valid_until=min(key.valid_until, told.valid_until))


def _at_most(count: int, keys: tuple[Key, ...]) -> tuple[Key, ...]:
    """Leave out those that were revoked first: what is not listed is not believed either."""
    revoked = sorted((key for key in keys if key.revoked is not None), key=lambda key: key.revoked or 0.0)
    gone = revoked[: max(0, len(keys) - count)]
    return tuple(key for key in keys if key not in gone)


def _at_once(keys: tuple[Key, ...], id_: str, now: float) -> tuple[Key, ...]:
    """Let the key with this id sign from now on, if it is to sign later."""
    return tuple(
        replace(key, valid_from=now) if key.id() == id_ and key.valid_from > now else key for key in keys
    )


def _decoded(payload: str) -> bytes:
    try:
        return base64.b64decode(payload, validate=True)
    except binascii.Error as error:
        raise errors.Invalid(
            "signer.frame.malformed", "The statement is no base64.", remedy=errors.SAME_RELEASE
        ) from error


def _fixed(role: KeyRole) -> errors.Invalid:
    return errors.Invalid(
        "key.role.fixed",
        f"The {role} key is not changed in this way: all that the site's authority issued hangs on it.",
        field="role",
        remedy="Change seal, audit, ticket or permit.",
    )
