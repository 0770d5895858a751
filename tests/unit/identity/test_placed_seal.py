"""The site's seal key in a hardware module or a key service: real SoftHSM, and moto's key service."""

import base64
import dataclasses
import os
import shutil
from pathlib import Path

import pytest
from tests.unit.identity.key_places import LIBRARY, KeyService, Tokens, kms, tokens
from tests.unit.identity.test_seal_judge import Scene, authority_of, scene, text
from tests.unit.identity.test_signing import documents

from crossport import errors
from crossport.app.seal_place import seal_place
from crossport.app.settings import Settings
from crossport.identity import role_document as roles
from crossport.identity.signers import open_signer
from crossport.identity.signing.desk import Desk
from crossport.identity.signing.keeper import SIGNER, Keeper
from crossport.identity.signing.placed import PlacedSigner, SealPlace
from crossport.identity.signing.question import AskKeys, AskRevoke, AskRotate, AskSeal, Question
from crossport.identity.signing.vault import Vault
from crossport.model import codec, statement
from crossport.model.keyring import Algorithm, KeyRole
from crossport.model.role import RevokeRequest, RoleDocument, RotateRequest
from crossport.model.sealing import SealSignature
from crossport.model.signature import is_signed

__all__ = ["kms", "scene", "tokens"]


class Signer:
    """The signer's judgement in this process; its seal key lies wherever the test says."""

    def __init__(self, folder: Path, scene: Scene) -> None:
        self.vault = Vault(folder / "signer")
        self.scene = scene
        self.clock = scene.clock
        self._sealed = 0

    def desk(self, place: str) -> Desk:
        placed = PlacedSigner(place, self.vault) if place else None
        return Desk(self.vault, authority_of(self.scene.identity), self.clock, placed)

    def ask(self, place: str, ask: AskKeys | AskRotate | AskRevoke | None = None) -> RoleDocument:
        answer = self.desk(place).answer(codec.encoded(Question(ask=ask or AskKeys())).encode())
        if answer.failure:
            raise answer.failure.error()
        return documents(base64.b64decode(answer.value), self.clock.wall())

    def seal(self, place: str) -> str:
        """Seal something; return the id of the key that did it."""
        self._sealed += 1
        nonce = f"{self._sealed:032x}"
        payload = statement.payload_of(self.scene.seal(nonce=nonce))
        asking = dataclasses.replace(self.scene, desk=self.desk(place))
        signed = asking.ask(approval=self.scene.approval(nonce=nonce), payload=payload)
        key = next(key for key in self.ask(place).keys if key.id() == signed.key)
        assert is_signed(key.der(), statement.pae(payload), base64.b64decode(signed.signature))
        assert key.valid_from <= self.clock.wall() < key.valid_until
        return signed.key


@pytest.fixture
def signer(tmp_path: Path, scene: Scene) -> Signer:
    return Signer(tmp_path, scene)


@pytest.fixture
def first(tokens: Tokens) -> str:
    return tokens.place(Algorithm.ECDSA_P256.value)


@pytest.fixture
def second(tokens: Tokens) -> str:
    return tokens.place(Algorithm.ED25519.value)


def there(place: str) -> str:
    return open_signer(place).key_id


def listed(document: RoleDocument) -> set[str]:
    return {key.id() for key in document.keys if key.role is KeyRole.SEAL}


def test_a_site_that_begins_with_a_module_has_no_seal_key_of_its_own(signer: Signer, first: str):
    document = signer.ask(first)
    assert listed(document) == {there(first)} == {signer.seal(first)}
    assert {key.role for key in document.keys} == set(KeyRole)
    assert signer.ask(first) == document


def test_a_key_elsewhere_is_listed_a_day_before_it_seals(signer: Signer, first: str):
    own = signer.seal("")
    assert listed(signer.ask(first)) == {own, there(first)}
    assert signer.seal(first) == own
    signer.clock.moved_s = roles.LEAD_S + 60
    assert sealing(signer, first) == there(first)


def sealing(signer: Signer, place: str) -> str:
    """Return the id of the key that seals at a time that no gateway's certificate lives to."""
    desk = signer.desk(place)
    return desk.sealing(signer.ask(place), signer.clock.wall()).key_id


def test_a_key_elsewhere_stays_listed_as_long_as_it_is_named(signer: Signer, first: str):
    signer.ask(first)
    for _ in range(5):
        signer.clock.moved_s += roles.KEY_LIFETIME_S * 0.6
        (key,) = (key for key in signer.ask(first).keys if key.role is KeyRole.SEAL)
        assert key.valid_until > signer.clock.wall() + roles.KEY_LIFETIME_S / 2


def test_a_site_whose_key_elsewhere_is_named_no_more_makes_one_at_once(signer: Signer, first: str):
    assert signer.seal(first) == there(first)
    own = signer.seal("")
    assert own != there(first)
    assert listed(signer.ask("")) == {own, there(first)}
    assert signer.seal(first) == there(first)


def test_another_place_seals_at_once_when_the_former_is_reached_no_more(
    signer: Signer, first: str, second: str
):
    signer.seal(first)
    assert signer.seal(second) == there(second)
    assert listed(signer.ask(second)) == {there(first), there(second)}


def test_until_the_day_of_a_third_place_a_key_seals_that_can(signer: Signer, first: str, second: str):
    own = signer.seal("")
    signer.ask(first)
    signer.clock.moved_s = roles.LEAD_S + 60
    assert sealing(signer, first) == there(first)
    signer.ask(second)
    assert sealing(signer, second) == own


def test_a_module_that_is_away_stops_seals_and_nothing_else(signer: Signer, first: str, tokens: Tokens):
    document = signer.ask(first)
    kept = tokens.pin.read_bytes()
    tokens.pin.unlink()
    try:
        assert signer.ask(first) == document
        with pytest.raises(errors.NotFound) as caught:
            signer.seal(first)
        assert caught.value.code == "signer.pin.absent"
    finally:
        tokens.pin.touch(mode=0o600)
        tokens.pin.write_bytes(kept)
    assert signer.seal(first)


def test_another_key_under_the_same_name_is_not_used(signer: Signer, first: str, second: str):
    signer.ask(first)
    half = signer.vault.half(first)
    assert half
    signer.vault.keep_half(second, half)
    with pytest.raises(errors.Broken) as caught:
        signer.seal(second)
    assert (caught.value.code, caught.value.field) == ("signer.place.other", "seal_key")


def test_a_revoked_key_elsewhere_seals_nothing_and_no_file_takes_its_place(signer: Signer, first: str):
    signer.seal("")
    revoke = RevokeRequest(key=there(first))
    signer.ask(first, AskRevoke(request=revoke, version=signer.ask(first).version))
    with pytest.raises(errors.Refused) as caught:
        signer.seal(first)
    assert caught.value.code == "signer.place.revoked"


def test_a_key_of_its_own_that_is_revoked_makes_the_one_elsewhere_seal_at_once(signer: Signer, first: str):
    revoke = RevokeRequest(key=signer.seal(""))
    signer.ask(first, AskRevoke(request=revoke, version=signer.ask(first).version))
    assert signer.seal(first) == there(first)


def test_a_key_elsewhere_is_not_made_anew_by_the_signer(signer: Signer, first: str):
    rotate = AskRotate(request=RotateRequest(role=KeyRole.SEAL), version=signer.ask(first).version)
    with pytest.raises(errors.Conflict) as caught:
        signer.ask(first, rotate)
    assert (caught.value.code, bool(caught.value.remedy)) == ("key.place.elsewhere", True)
    audit = dataclasses.replace(rotate, request=RotateRequest(role=KeyRole.AUDIT))
    assert signer.ask(first, audit).version == rotate.version + 1


def for_the_signer(tokens: Tokens, folder: Path) -> SealPlace:
    """Return SoftHSM's token as an operator gives it to the signer: its files belong to the signer's user."""
    folder.mkdir()
    shutil.copytree(tokens.directory / "tokens", folder / "tokens")
    shutil.copy2(tokens.pin, folder / "pin")
    (folder / "conf").write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, SIGNER, SIGNER)
    return SealPlace(
        place=tokens.place(Algorithm.ECDSA_P256.value, pin=folder / "pin"),
        paths=(str(folder),),
        environment={"SOFTHSM2_CONF": str(folder / "conf")},
    )


@pytest.mark.parametrize("kind", ["module", "service"])
async def test_the_signers_own_process_seals_with_a_key_that_lies_elsewhere(
    scene: Scene, tmp_path: Path, kind: str, tokens: Tokens, kms: KeyService
):
    if kind == "module":
        where = for_the_signer(tokens, tmp_path / "module")
    else:
        settings = Settings(home=tmp_path, seal_key=kms.make())
        found = seal_place(settings, os.environ)
        assert found
        where = found
    payload = statement.payload_of(scene.seal())
    keeper = Keeper(tmp_path / "signer", lambda: authority_of(scene.identity), where)
    try:
        document = documents(await keeper.ask(AskKeys()))
        ask = AskSeal(approval=scene.approval(), claims=(scene.claim(),), payload=text(payload))
        signed = codec.decoded(await keeper.ask(ask), SealSignature)
    finally:
        await keeper.close()
    (key,) = (key for key in document.keys if key.role is KeyRole.SEAL)
    assert key.id() == signed.key
    assert is_signed(key.der(), statement.pae(payload), base64.b64decode(signed.signature))
    assert not (tmp_path / "signer" / f"{key.id()}.key").exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seal_key": "/etc/seal.key"}, "seal_key"),
        ({"seal_key": "pkcs11:x", "seal_key_paths": ("relative",)}, "seal_key_paths"),
        ({"seal_key": "pkcs11:x", "seal_key_paths": ("/nowhere/at/all",)}, "seal_key_paths"),
        ({"seal_key": "pkcs11:x", "seal_key_variables": ("NO_SUCH",)}, "seal_key_variables"),
    ],
)
def test_a_setting_that_names_nothing_is_refused_before_the_server_begins(
    tmp_path: Path, changes: dict[str, str], field: str
):
    with pytest.raises(errors.Invalid) as caught:
        seal_place(dataclasses.replace(Settings(home=tmp_path), **changes), {})
    assert (caught.value.field, bool(caught.value.remedy)) == (field, True)


def test_the_signer_gets_the_login_of_its_service_and_nothing_else_of_the_environment(tmp_path: Path):
    environment = {"AWS_REGION": "r", "AWS_SECRET_ACCESS_KEY": "s", "HOME": "/root", "CONF": "/c"}
    settings = Settings(home=tmp_path, seal_key="awskms:arn", seal_key_variables=("CONF",))
    found = seal_place(settings, environment)
    assert found
    assert set(found.environment) == {"AWS_REGION", "AWS_SECRET_ACCESS_KEY", "CONF"}
    assert "'s'" not in repr(found)
    module = seal_place(
        dataclasses.replace(settings, seal_key=f"pkcs11:x?module-path={LIBRARY}"), environment
    )
    assert module
    assert set(module.environment) == {"CONF"}
    assert seal_place(Settings(home=tmp_path), environment) is None
