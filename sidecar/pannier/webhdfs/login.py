"""Who a session is to HDFS: a plain user name, a delegation token, or a Kerberos ticket.

The classes are pure; `client_for` makes the `hdfs` library's client and imports it only then.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from getpass import getuser
from typing import Any, Literal

from pannier.errors import BackendUnavailable


@dataclass(frozen=True, slots=True)
class SimpleLogin:
    """`user.name` in every request: HDFS without security believes it."""

    username: str | None = None
    """None: the user this process runs as."""


@dataclass(frozen=True, slots=True)
class TokenLogin:
    """A delegation token, as `hdfs fetchdt` or WebHDFS's GETDELEGATIONTOKEN gives it."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KerberosLogin:
    """SPNEGO with the ticket of the environment (KRB5CCNAME, or KRB5_CLIENT_KTNAME, a keytab)."""

    principal: str | None = None
    """Whose ticket to take; None: the default one."""
    mutual_authentication: Literal["required", "optional", "disabled"] = "required"
    """Whether the NameNode must prove who it is too."""


Login = SimpleLogin | TokenLogin | KerberosLogin


def client_for(login: Login, addresses: tuple[str, ...], session: Any) -> Any:
    """The `hdfs` library's client that logs in this way on `session` (it is changed)."""
    url = ";".join(addresses)
    _quiet()
    if isinstance(login, KerberosLogin):
        try:
            from hdfs.ext.kerberos import KerberosClient
        except ImportError as missing:
            raise BackendUnavailable(
                "Kerberos needs more packages: pip install 'pannier[kerberos]'."
            ) from missing
        return KerberosClient(
            url,
            mutual_auth=login.mutual_authentication.upper(),
            principal=login.principal,
            session=session,
        )
    if isinstance(login, TokenLogin):
        from hdfs import TokenClient

        _hide_tokens_in_logs()
        return TokenClient(url, login.token, session=session)
    from hdfs import InsecureClient

    return InsecureClient(url, user=login.username or _process_user(), session=session)


def _process_user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):
        raise BackendUnavailable(
            "This process's user has no name; give the HDFS store a username."
        ) from None


def _quiet() -> None:
    """The library logs each client it makes, and we make one a connection."""
    log = logging.getLogger("hdfs.client")
    if log.level == logging.NOTSET:
        log.setLevel(logging.WARNING)


_TOKEN = re.compile(r"(delegation|token)=[^&\s\"']+")


class _TokenFilter(logging.Filter):
    """Masks delegation tokens in urllib3's own log lines, which hold whole URLs."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        masked = _TOKEN.sub(r"\1=***", text)
        if masked != text:
            record.msg, record.args = masked, ()
        return True


_token_filter = _TokenFilter()


def _hide_tokens_in_logs() -> None:
    for name in ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry"):
        logging.getLogger(name).addFilter(_token_filter)  # adding it twice changes nothing
