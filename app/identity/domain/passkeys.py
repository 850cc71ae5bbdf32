"""Passkeys: what is refused, and how many a person may have."""

from app.core.errors import Conflict, Invalid, NotFound

MOST_PASSKEYS = 10


class PasskeyRefused(Invalid):
    """The key's answer does not prove what it should; begin anew."""

    code = "passkey_refused"
    title = "The passkey was not accepted"


class PasskeyNotFound(NotFound):
    """There is no such passkey among yours."""

    code = "passkey_not_found"
    title = "There is no such passkey"


class PasskeyCopied(Invalid):
    """The key's counter went back, as that of a copied key would; it is refused and its owner is told."""

    code = "passkey_copied"
    title = "This passkey may have been copied"


class LastFactor(Conflict):
    """The last second factor cannot be removed; add another one first."""

    code = "last_factor"
    title = "This is your last second factor"


class TooManyPasskeys(Conflict):
    """Ten passkeys are the most; remove one that is no longer used."""

    code = "too_many_passkeys"
    title = "You have ten passkeys already"
