"""What PostgreSQL's errors mean, and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from arriero.stack.log.record import LogBusy, LogConflict, LogError

if TYPE_CHECKING:
    import psycopg

_REMEDIES = {  # by SQLSTATE, see appendix A of PostgreSQL's manual
    "25006": "it is read-only; give the address of the primary server, or let the user write",
    "42501": "the user may not do that; grant it, or let the schema's owner make the tables",
    "53100": "the server's disk is full; free some space and run the turn again",
    "53300": "the server is out of connections; raise its max_connections, or give the log fewer connections",
    "54000": "the server cannot store that much; check its limits",
}
_ANY_REMEDY = "check the server's log"

_REFUSALS = (  # the server's words while a connection opens, when no SQLSTATE is known; whether to try again is useless
    (("password authentication failed", "no password supplied", "pg_hba.conf", "authentication"), True,
     "check the user and the password"),
    (("does not exist",), True, "check the database and the user, or create them"),
    (("too many", "connection slots"), False, _REMEDIES["53300"]),
    (("starting up", "shutting down", "recovery mode"), False, "the server is starting or stopping; try again"),
)  # fmt: skip
_NOBODY = "check that the server runs there, and that the address is right"


class LostConnection(LogError):
    """The connection broke before the server had answered."""


@contextmanager
def typed(name: str, connection: "psycopg.Connection[Any]") -> Iterator[None]:
    """Turn psycopg's errors into the log's."""
    import psycopg

    try:
        yield
    except psycopg.errors.UniqueViolation as error:
        raise LogConflict(
            f"{name} already has an event at that position: another process continued the session; run the turn again"
            " to continue from there"
        ) from error
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        raise LogBusy(f"{name} is busy: {_words(error)}; try again") from error
    except (psycopg.DataError, UnicodeEncodeError, OverflowError) as error:
        raise LogError(f"{name} cannot hold that name or number: {error}") from error
    except psycopg.Error as error:
        if connection.closed or connection.broken:
            raise LostConnection(
                f"{name} hung up, so it is not known whether it wrote: {_words(error)}; check the server, and run the"
                " turn again"
            ) from error
        remedy = _REMEDIES.get(error.sqlstate or "", _ANY_REMEDY)
        raise LogError(f"{name} could not be used: {_words(error)}; {remedy}") from error


def unreachable(name: str, error: "psycopg.OperationalError") -> tuple[LogError, bool]:
    """The error for a connection that could not be opened, and whether it is useless to try again."""
    words = _words(error)
    for marks, hopeless, remedy in _REFUSALS:
        if any(mark in words for mark in marks):
            return LogError(f"{name} cannot be opened: {words}; {remedy}"), hopeless
    return LogError(f"{name} cannot be reached: {words}; {_NOBODY}"), False


def _words(error: "psycopg.Error") -> str:
    return error.diag.message_primary or " ".join(str(error).split())
