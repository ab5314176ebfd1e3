"""What an error reply, or no reply, says about whether something was done."""

from __future__ import annotations

import pytest
from hiredis import ReplyError

from pannier.errors import (
    BackendRefused,
    BackendUnavailable,
    OperationTimeout,
    OutcomeUnknown,
    PannierError,
    StoreFull,
)
from pannier.redis.replies import (
    ConnectionLost,
    code_of,
    ends_connection,
    failure,
    refused,
    says_noscript,
    spoken,
)

QUOTED = "ERR Error running script (call to f_1): @user_script:3:"
OF_REPLIES: list[tuple[str, type[PannierError]]] = [
    ("LOADING Redis is loading the dataset in memory", BackendUnavailable),
    ("READONLY You can't write against a read only replica.", BackendUnavailable),
    ("MASTERDOWN Link with MASTER is down", BackendUnavailable),
    ("CLUSTERDOWN The cluster is down", BackendUnavailable),
    ("MISCONF Redis is configured to save RDB snapshots, but ...", BackendUnavailable),
    ("NOREPLICAS Not enough good replicas to write.", BackendUnavailable),
    ("TRYAGAIN Multiple keys request during rehashing of slot", BackendUnavailable),
    ("BUSY Redis is busy running a script.", BackendUnavailable),
    ("NOAUTH Authentication required.", BackendUnavailable),
    ("ERR max number of clients reached", BackendUnavailable),
    ("OOM command not allowed when used memory > 'maxmemory'.", StoreFull),
    ("OOM command not allowed. script: 89, on @user_script:3.", StoreFull),
    ("WRONGTYPE Operation against a key holding the wrong kind of value", BackendRefused),
    ("NOPERM this user has no permissions to run the 'hset' command", BackendRefused),
    ("MOVED 3999 127.0.0.1:6381", BackendRefused),
    ("EXECABORT Transaction discarded because of previous errors.", BackendRefused),
    ("ERR unknown command 'HSET', with args beginning with: 'a' 'secret'", BackendRefused),
    ("odd words", BackendRefused),
    ("", BackendRefused),
    # Before Redis 7 errors inside a script are quoted by another one.
    (f"{QUOTED} @user_script: 3: -OOM command not allowed.", StoreFull),
    (f"{QUOTED} WRONGTYPE Operation against a key holding the wrong kind.", BackendRefused),
    (f"{QUOTED} -READONLY You can't write.", BackendUnavailable),
]


@pytest.mark.parametrize(("text", "expected"), OF_REPLIES)
def test_an_error_reply_has_its_error(text: str, expected: type[PannierError]) -> None:
    error = refused(ReplyError(text), "Cart/42")
    assert type(error) is expected
    assert "Cart/42" in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("lost", "write", "expected"),
    [
        (ConnectionLost("x", sent=False), True, BackendUnavailable),
        (ConnectionLost("x", sent=False), False, BackendUnavailable),
        (ConnectionLost("x"), False, BackendUnavailable),
        (ConnectionLost("x", timed_out=True), False, OperationTimeout),
        (ConnectionLost("x"), True, OutcomeUnknown),
        (ConnectionLost("x", timed_out=True), True, OutcomeUnknown),
    ],
)
def test_no_answer_says_whether_it_may_have_been_done(
    lost: ConnectionLost, write: bool, expected: type[PannierError]
) -> None:
    error = failure(lost, "Cart/42", write=write)
    assert type(error) is expected
    assert error.__cause__ is lost


def test_only_a_login_or_role_gone_wrong_ends_the_connection() -> None:
    assert ends_connection(ReplyError("READONLY You can't write against a read only replica."))
    assert ends_connection(ReplyError("NOAUTH Authentication required."))
    assert not ends_connection(ReplyError("OOM command not allowed"))
    assert not ends_connection(ReplyError("LOADING Redis is loading"))


def test_noscript_is_told_from_all_else() -> None:
    assert says_noscript(ReplyError("NOSCRIPT No matching script. Please use EVAL."))
    assert not says_noscript(ReplyError("ERR no"))
    assert not says_noscript(b"NOSCRIPT")
    assert not says_noscript(None)


def test_a_reply_of_the_wrong_kind_is_refused_and_not_guessed_at() -> None:
    for odd in (b"1", "1", True, None, 7, [1]):
        assert isinstance(failure(odd, "Cart/42", write=True), BackendRefused)


def test_what_kept_a_command_from_being_sent_stays_what_it_is() -> None:
    error = BackendUnavailable("no connection")
    assert failure(error, "Cart/42", write=True) is error


def test_what_the_server_says_is_one_short_line() -> None:
    said = spoken(ReplyError("ERR a\r\nb\x1b[31m" + "x" * 500))
    assert said.isprintable()
    assert len(said) <= 160


def test_an_acl_failure_in_a_script_is_no_permission() -> None:
    text = "ERR ACL failure in script: User shop has no permissions to run the 'hset' command"
    assert code_of(ReplyError(text)) == "NOPERM"
