"""The tables of a log in PostgreSQL."""

from typing import TYPE_CHECKING, Any

from arriero.stack.log.layout import LAYOUT
from arriero.stack.log.record import NewerLog

if TYPE_CHECKING:
    from psycopg import Connection

_TABLES = """
CREATE TABLE layout (version integer NOT NULL);
CREATE TABLE events (
    session text COLLATE "C" NOT NULL,
    turn text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    time double precision NOT NULL,
    kind text NOT NULL,
    note text,
    prompt bigint,
    completion bigint,
    cached bigint,
    json text NOT NULL,
    PRIMARY KEY (session, seq)
);
CREATE TABLE leases (
    session text COLLATE "C" PRIMARY KEY,
    owner text NOT NULL,
    renewed double precision NOT NULL
);
CREATE TABLE pruning (allowed integer);
CREATE FUNCTION only_grows() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP <> 'TRUNCATE' AND EXISTS (SELECT 1 FROM pruning) THEN
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    RAISE EXCEPTION 'the event log only grows';
END $$;
CREATE TRIGGER events_stay BEFORE DELETE OR UPDATE ON events FOR EACH ROW EXECUTE FUNCTION only_grows();
CREATE TRIGGER events_hold BEFORE TRUNCATE ON events FOR EACH STATEMENT EXECUTE FUNCTION only_grows();
"""  # `pruning` has a row only inside of a transaction that prunes, so that nobody else ever sees one


def prepare(connection: "Connection[Any]", schema: str, name: str) -> None:
    """Make the schema and its tables, unless they are there.

    Args:
        connection: The database, in autocommit mode, with the schema as its search path.
        schema: The schema.
        name: What errors call the log.

    Raises:
        NewerLog: A later release made them.
        psycopg.Error: They could not be made.
    """
    from psycopg import sql

    table = "SELECT to_regclass('layout')"  # in no other schema, as only this one is searched
    if connection.execute(table).fetchone() == (None,):
        # Not within the transaction, which would not see what others made while it waited for the lock.
        connection.execute("SELECT pg_advisory_lock(hashtext(%s))", [f"arriero {schema}"])
        with connection.transaction():
            if connection.execute(table).fetchone() == (None,):
                if connection.execute("SELECT to_regnamespace(%s)", [f'"{schema}"']).fetchone() == (None,):
                    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
                connection.execute(_TABLES)
                connection.execute("INSERT INTO layout VALUES (%s)", [LAYOUT])
        connection.execute("SELECT pg_advisory_unlock(hashtext(%s))", [f"arriero {schema}"])
    version = (connection.execute("SELECT version FROM layout").fetchone() or (0,))[0]
    if version > LAYOUT:
        raise NewerLog(
            f"{name} has layout {version}, and this release knows up to {LAYOUT}: use the release that made it"
        )
