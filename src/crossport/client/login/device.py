"""Sign in where there is no browser: a person enters a code on another machine (RFC 8628)."""

from collections.abc import Callable, Mapping
from typing import Any

from crossport import errors
from crossport.client.login.grant import Asker, Granted, odd, refused
from crossport.identity.federation.secure_address import secure
from crossport.model.record import record

__all__ = ["DEVICE", "DeviceCode", "asked_for", "waited_for"]

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
SLOWER_S = 5.0
LONGEST_S = 1800.0


@record()
class DeviceCode:
    """What a person enters where, within ``life_s`` seconds; ``device`` is our own, secret part of it."""

    code: str
    address: str
    device: str
    life_s: float
    interval_s: float


def asked_for(asker: Asker, form: Mapping[str, str]) -> DeviceCode:
    """Return a new code. Raise Refused when the provider gives none."""
    answer = asker.asked(asker.metadata.device, form)
    if answer.get("error"):
        raise refused(answer)
    texts = [answer.get(name) for name in ("user_code", "verification_uri", "device_code")]
    code, address, device = (each if isinstance(each, str) else "" for each in texts)
    if not (code and address and device):
        raise odd(asker.metadata.issuer, "gave no code for a device")
    return DeviceCode(
        code=code,
        address=secure(address),
        device=device,
        life_s=min(_seconds(answer.get("expires_in"), LONGEST_S), LONGEST_S),
        interval_s=_seconds(answer.get("interval"), SLOWER_S),
    )


def waited_for(
    asker: Asker,
    given: DeviceCode,
    form: Mapping[str, str],
    sleep: Callable[[float], object],
    tell: Callable[[float], object],
) -> Granted:
    """Return the tokens once the person is done; ``tell`` hears how many seconds are left.

    Raise Refused ``login.denied``, and ``login.expired`` when nobody entered the code in time.
    """
    asked = {**form, "grant_type": DEVICE, "device_code": given.device}
    now = asker.moment.now
    deadline, interval_s = now() + given.life_s, given.interval_s
    while (left_s := deadline - now()) > 0:
        tell(left_s)
        sleep(min(interval_s, left_s))
        if now() >= deadline:
            break  # the provider does not know the code any more
        try:
            answer = asker.asked(asker.metadata.token, asked)
        except errors.Unavailable:
            interval_s += SLOWER_S  # RFC 8628, section 3.5: ask less often when it does not answer
            continue
        match answer.get("error"):
            case "authorization_pending":
                continue
            case "slow_down":
                interval_s += SLOWER_S
            case _:
                return asker.read(answer)
    raise refused({"error": "expired_token"})


def _seconds(told: Any, usual: float) -> float:
    known = isinstance(told, int | float) and not isinstance(told, bool) and told > 0
    return float(told) if known else usual
