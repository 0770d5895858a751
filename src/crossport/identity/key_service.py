"""Keys in the key management service of AWS: one that signs, one that encrypts the master key.

Nothing else imports its library, an extra of the package.

The login is what that library finds: its environment, its files, or the machine's own role.
"""

import hashlib
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from crossport import errors
from crossport.model.keyring import Algorithm

__all__ = ["KmsKey", "KmsWrap"]

_LIBRARY: Any = boto3  # its clients are made at run time, and have no types

_PATIENCE = Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 3, "mode": "standard"})
_NEVER = ("AccessDenied", "Disabled", "IncorrectKey", "Invalid", "NotFound", "Validation")
_PURPOSE = {"purpose": "crossport master key"}
"""Without it the service opens nothing that was wrapped here."""


class _Kept:
    """A key of the service, by its ARN, for which this machine needs ``rights``."""

    rights = ""

    def __init__(self, arn: str, *, endpoint: str = "") -> None:
        """Use the key ``arn``, at ``endpoint`` where it is not the public one of its region."""
        self.name = arn
        self._arn = arn
        region = arn.split(":")[3]
        self._client = _LIBRARY.client(
            "kms", region_name=region, endpoint_url=endpoint or None, config=_PATIENCE
        )

    def called(self, action: str, **arguments: object) -> dict[str, Any]:
        """Return the service's answer; raise Unavailable or Refused as it says."""
        try:
            return getattr(self._client, action)(KeyId=self._arn, **arguments)
        except ClientError as error:
            answer: Any = error.response
            said: dict[str, str] = answer["Error"]
            raise self._told(said["Code"], said["Message"]) from error
        except BotoCoreError as error:
            raise self._told("", str(error)) from error

    def _told(self, code: str, text: str) -> errors.Error:
        if code.startswith(_NEVER):
            return errors.Refused(
                "signer.kms.refused",
                f"The key service does not let {self.name} be used: {code}: {text}",
                field="key",
                remedy=f"Look at the key's ARN, state and policy: {self.rights} are needed.",
            )
        return errors.Unavailable(
            "signer.kms.away",
            f"The key service did not do it for {self.name}: {text or code}",
            field="key",
            remedy="Try again. If it lasts, look at the network and at the login that this machine has.",
        )


class KmsKey(_Kept):
    """Signs: an `crossport.identity.outside_signer.OutsideKey`."""

    rights = "kms:GetPublicKey and kms:Sign"

    def public_key(self) -> bytes:
        """Return the public half; raise Unavailable or Refused as the service says."""
        return bytes(self.called("get_public_key")["PublicKey"])

    def sign(self, payload: bytes, algorithm: Algorithm) -> bytes:
        """Return the service's signature. The payload is digested here and stays here."""
        if algorithm is not Algorithm.ECDSA_P256:
            raise errors.Refused(
                "signer.kms.algorithm",
                f"{self.name} is a key of Ed25519, with which this service signs no digest.",
                field="key",
                remedy="Use a key of ECC_NIST_P256.",
            )
        digest = hashlib.sha256(payload).digest()
        answer = self.called("sign", Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256")
        return bytes(answer["Signature"])


class KmsWrap(_Kept):
    """Encrypts the file of master keys: a `crossport.identity.master_key.KeyWrap`."""

    rights = "kms:Encrypt and kms:Decrypt"

    def wrap(self, plain: bytes) -> bytes:
        """Return what only the service opens."""
        return bytes(self.called("encrypt", Plaintext=plain, EncryptionContext=_PURPOSE)["CiphertextBlob"])

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return what was wrapped with this very key."""
        return bytes(self.called("decrypt", CiphertextBlob=wrapped, EncryptionContext=_PURPOSE)["Plaintext"])
