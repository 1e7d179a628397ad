"""What a database says when it cannot be used, each with its own remedy. Pure."""

import re

_PLACE = "store.url and store.audit_url"
# The words of PostgreSQL, libpq and SQLite. The first that matches counts, in any line: libpq tries
# several addresses, and only the last one's answer comes first.
_REMEDIES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(words), remedy)
    for words, remedy in (
        (
            "no password supplied",
            f"name a passfile in {_PLACE} that only this user can read (chmod 600)",
        ),
        (
            "(peer|Peer|[Ii]dent) authentication failed",
            "run this as that user of the host, or change the method in pg_hba.conf",
        ),
        (
            r"certificate authentication failed|valid client certificate",
            f"name a certificate for this role with sslcert and sslkey in {_PLACE}",
        ),
        (
            "authentication failed",
            f"correct the user or the password that {_PLACE} name, or set it with ALTER ROLE",
        ),
        (
            'role ".*" (does not exist|is not permitted to log in)',
            f"make it (lamplighter database roles --create), or correct the user in {_PLACE}",
        ),
        (
            r"no pg_hba\.conf entry .*no encryption",
            f"permit it in pg_hba.conf; for hostssl, write sslmode=verify-full into {_PLACE}",
        ),
        (r"pg_hba\.conf", "permit it in pg_hba.conf, and reload PostgreSQL"),
        ('database ".*" does not exist', f"create it, or correct its name in {_PLACE}"),
        ("permission denied for database", "GRANT CONNECT ON DATABASE to this role"),
        ("not currently accepting connections", "ALTER DATABASE with ALLOW_CONNECTIONS true"),
        (
            "too many (clients|connections)|connection slots",
            "raise max_connections in postgresql.conf, or the limit of the role or the database",
        ),
        (
            "does not support SSL",
            f"switch ssl on in postgresql.conf, or take sslmode out of {_PLACE}",
        ),
        (
            "certificate|private key|sslmode",
            f"check host, sslmode, sslrootcert, sslcert and sslkey in {_PLACE}",
        ),
        ("definition of service|service file", "write it into the file that PGSERVICEFILE names"),
        ("failed to resolve host|translate host name", f"correct the host in {_PLACE}"),
        (
            "read-only (transaction|mode)|session is (not )?read-only",
            "name the primary server, or all with target_session_attrs=read-write",
        ),
        (
            "due to (statement|lock|transaction|idle-in-transaction|idle-session) timeout",
            "raise that timeout for this role (ALTER ROLE ... SET), or set it to 0",
        ),
        ("conflict with recovery", "name the primary server, or raise max_standby_streaming_delay"),
        ("deadlock detected|could not serialize", "it may be tried again at once"),
        (
            "starting up|shutting down|in recovery|not yet accepting|administrator command|crash of another",
            "wait until it has started",
        ),
        ("No space left|disk is full", "free space on the database's disk"),
        ("database is locked", "find the process that writes it for so long (fuser FILE)"),
        (
            "readonly database|unable to open database",
            "let this user write the file and its folder",
        ),
        ("disk I/O error", "check the disk; then restore a backup (docs/operations.md)"),
        ("FATAL", "PostgreSQL answers: its log says why it refuses"),
    )
)


def remedied(words: str) -> str | None:
    """The line of a database's words that is a known refusal, with its remedy; None without one."""
    lines = words.strip().split("\n")
    for pattern, remedy in _REMEDIES:
        for line in lines:
            if pattern.search(line):
                return f"{line.strip()}: {remedy}"
    return None
