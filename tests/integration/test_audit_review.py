"""Verification finds and names every change of the log, on both databases."""

from __future__ import annotations

import json
import random
import time
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from schemas.errors import MalformedMessageError
from schemas.jobs import JobEvent, JobTransition
from tests.testbed.auditlog import fill
from tests.testbed.stores import STORES
from workers.audit import segments
from workers.audit.chain import COLUMNS, ChainProblem
from workers.audit.heads import head_from, sign_head, stored_heads
from workers.audit.log import append
from workers.audit.queries import Filter, find
from workers.audit.record import HASHED, chained, record_of
from workers.audit.segments import Attribution, NotSealedError, seals
from workers.audit.signing import load_signer, load_trusted, public_file
from workers.audit.verify import Heads, chain_of, dropping, rows
from workers.store.database import open_store, reading
from workers.store.tables import audit, audit_jobs, audit_nodes, audit_uws

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from workers.audit.chain import Chain
    from workers.audit.signing import Signer, Trusted

REQUESTS = 50
NOW = time.time_ns()


@pytest.fixture
def signer(run_dir: Path) -> Signer:
    return load_signer(run_dir / "audit.key")


@pytest.fixture
def trusted(run_dir: Path, signer: Signer) -> Trusted:
    assert signer
    return load_trusted([public_file(run_dir / "audit.key")])


@pytest.fixture
def log(store_url: str) -> Iterator[sa.Engine]:
    engine = open_store(store_url, "audit")
    fill(engine, REQUESTS)
    yield engine
    engine.dispose()


def change(log: sa.Engine, statement: str, **values: object) -> None:
    with log.begin() as connection:
        connection.execute(sa.text(statement), values)


def followed(log: sa.Engine, trusted: Trusted, after: int = 0) -> tuple[Chain, list[ChainProblem]]:
    with reading(log) as connection:
        chain = chain_of(connection, trusted)
        return chain, [x for portion in rows(connection, after) for x in chain.follow(portion)]


def found(log: sa.Engine, trusted: Trusted) -> list[tuple[int | None, str]]:
    return [(finding.seq, finding.problem) for finding in followed(log, trusted)[1]]


def test_an_unchanged_log_verifies(log: sa.Engine, trusted: Trusted) -> None:
    chain, findings = followed(log, trusted)
    assert (chain.records, chain.first, chain.seq, findings) == (100, 1, 100, [])


@pytest.mark.parametrize("column", [*HASHED, "body", "hash", "prev_hash"])
def test_an_altered_record_is_the_only_finding(
    log: sa.Engine, trusted: Trusted, column: str
) -> None:
    value: object = {"body": b"{}", "hash": b"\1" * 32, "prev_hash": b"\1" * 32}.get(column, "7")
    if column in {"time", "recorded_at", "generation", "round"}:
        value = 7
    change(log, f"UPDATE audit SET {column} = :value WHERE seq = 40", value=value)  # noqa: S608 - our own columns
    ((seq, problem),) = found(log, trusted)
    assert seq == 40
    assert "was altered" in problem


def test_a_missing_record_is_reported_at_its_successor(log: sa.Engine, trusted: Trusted) -> None:
    change(log, "DELETE FROM audit WHERE seq = 40")
    ((seq, problem),) = found(log, trusted)
    assert seq == 41
    assert "does not follow record 39" in problem


def test_reordered_records_are_reported(log: sa.Engine, trusted: Trusted) -> None:
    for old, new in ((40, 1000), (41, 40), (1000, 41)):
        change(log, "UPDATE audit SET seq = :new WHERE seq = :old", old=old, new=new)
    problems = found(log, trusted)
    assert [seq for seq, _ in problems] == [40, 41, 42]
    assert all("out of order" in problem for _, problem in problems)


def test_a_record_that_was_replaced_with_a_valid_hash_is_found(
    log: sa.Engine, trusted: Trusted
) -> None:
    with log.begin() as connection:
        row = connection.execute(
            sa.select(*(audit.c[name] for name in COLUMNS)).where(audit.c.seq == 40)
        ).one()
        new = chained(row.prev_hash, row[3:-1], b"{}")
        connection.execute(sa.update(audit).where(audit.c.seq == 40).values(body=b"{}", hash=new))
    ((seq, problem),) = found(log, trusted)
    assert seq == 41
    assert "one of the two was replaced" in problem


def test_a_missing_beginning_is_found(log: sa.Engine, trusted: Trusted) -> None:
    change(log, "DELETE FROM audit WHERE seq < 10")
    ((seq, problem),) = found(log, trusted)
    assert seq == 10
    assert "earlier records are missing" in problem


def compared(log: sa.Engine, trusted: Trusted, lines: list[str]) -> tuple[Heads, list[str]]:
    with reading(log) as connection:
        heads = Heads(connection, trusted)
        return heads, [finding.problem for finding in heads.compare(lines, "file")]


def test_heads_find_a_truncated_tail_and_a_rewritten_log(
    log: sa.Engine, trusted: Trusted, signer: Signer
) -> None:
    head = sign_head(log, "test", signer, NOW)
    assert head is not None
    assert sign_head(log, "test", signer, NOW + 1) is None  # nothing new
    lines = [head.to_json()]
    with reading(log) as connection:
        assert list(stored_heads(connection)) == lines
    heads, problems = compared(log, trusted, lines)
    assert (heads.held, problems) == (1, [])
    change(log, "DELETE FROM audit WHERE seq > 90")
    assert followed(log, trusted)[1] == []  # the chain itself is intact
    (problem,) = compared(log, trusted, lines)[1]
    assert "the log ends with record 90" in problem
    # rewritten: a valid chain of other records
    change(log, "DELETE FROM audit")
    fill(log, REQUESTS, begin=1)
    with log.begin() as connection:
        shift = connection.execute(sa.select(sa.func.min(audit.c.seq))).scalar_one() - 1
        connection.execute(sa.update(audit).values(seq=audit.c.seq - shift - 10_000))
        connection.execute(sa.update(audit).values(seq=audit.c.seq + 10_000))
    assert followed(log, trusted)[1] == []
    (problem,) = compared(log, trusted, lines)[1]
    assert "the log was rewritten" in problem


def test_an_altered_head_or_one_signed_by_another_key_is_rejected(
    log: sa.Engine, trusted: Trusted, signer: Signer, run_dir: Path
) -> None:
    head = sign_head(log, "test", signer, NOW)
    foreign = sign_head(log, "test", load_signer(run_dir / "other.key"), NOW)
    assert head is not None
    assert foreign is not None
    altered = json.dumps({**head.statement, "seq": 99})
    unsigned = [
        json.dumps({**head.statement, "signature": one}) for one in ("\u00fc", "=", 5, None)
    ]
    heads, problems = compared(log, trusted, [altered, foreign.to_json(), "{no json", *unsigned])
    assert heads.held == 0
    assert ["is invalid" in problems[0], "not trusted" in problems[1]] == [True, True]
    assert ["is invalid" in problem for problem in problems[3:]] == [True] * 4
    assert len(problems) == 7
    with pytest.raises(MalformedMessageError):
        head_from('{"seq": true, "hash": "", "time": ""}')


def sealed(log: sa.Engine, trusted: Trusted, signer: Signer, after: int = 0) -> segments.Seal:
    chain, findings = followed(log, trusted, after)
    assert findings == []
    return segments.seal(log, signer, Attribution("test", "me", NOW), chain)


def test_after_dropping_sealed_segments_the_rest_still_verifies(
    log: sa.Engine, trusted: Trusted, signer: Signer
) -> None:
    early = sign_head(log, "test", signer, NOW)
    first = sealed(log, trusted, signer)
    assert (first.segment, first.first, first.last, first.records) == (1, 1, 100, 100)
    with pytest.raises(NotSealedError):
        segments.seal(log, signer, Attribution("test", "me", NOW), followed(log, trusted)[0])
    fill(log, REQUESTS, begin=NOW)
    boot = JobEvent(JobTransition.IDENTIFIED, "test", 1, NOW, NOW, uws_id="x", nodes=("node1",))
    append(log, [record_of(boot.to_envelope().to_json(), "test", NOW)])
    second = sealed(log, trusted, signer, after=first.seq - 1)
    # the second segment begins with the seal of the first
    assert (second.segment, second.first, second.last, second.records) == (2, 101, 202, 202)
    count = segments.prune(log, signer, first, Attribution("test", "me", NOW, "retention period"))
    assert count == 100
    chain, findings = followed(log, trusted)
    assert (chain.first, findings) == (101, [])
    assert early is not None
    heads, problems = compared(log, trusted, [early.to_json()])
    assert (heads.dropped, problems) == (1, [])
    with reading(log) as connection:
        (pruned,) = [e for e in find(connection, Filter()) if e.type == segments.PRUNED]
        jobs = set(connection.execute(sa.select(audit_jobs.c.request_id)).scalars())
        known = set(connection.execute(sa.select(audit.c.request_id)).scalars())
        assert connection.execute(sa.select(audit_nodes.c.id)).scalars().all() == [boot.id]
        assert connection.execute(sa.select(audit_uws.c.uws_id)).scalars().all() == ["x"]
    assert json.loads(pruned.body)["data"]["reason"] == "retention period"
    assert jobs <= known
    # the next segment can be dropped too, up to its own seal
    segments.prune(log, signer, second, Attribution("test", "me", NOW + 1, "again"))
    chain, findings = followed(log, trusted)
    assert (chain.first, findings) == (second.seq, [])
    with reading(log) as connection:
        assert connection.execute(sa.select(audit_nodes.c.id)).scalars().all() == []
        assert connection.execute(sa.select(audit_uws.c.uws_id)).scalars().all() == []


def test_a_log_that_two_keys_signed_in_turn_verifies_with_both_and_names_the_missing_one(
    log: sa.Engine, trusted: Trusted, signer: Signer, run_dir: Path
) -> None:
    """The rotation of docs/security.md: heads, seals and what was dropped, before and after the new key."""
    heads = [sign_head(log, "test", signer, NOW)]
    first = sealed(log, trusted, signer)
    fill(log, REQUESTS, begin=NOW)
    new = load_signer(run_dir / "new.key")
    both = load_trusted([public_file(run_dir / name) for name in ("audit.key", "new.key")])
    heads.append(sign_head(log, "test", new, NOW))
    second = sealed(log, both, new, after=first.seq - 1)
    segments.prune(log, new, first, Attribution("test", "me", NOW, "x"))
    lines = [head.to_json() for head in heads if head is not None]
    assert len(lines) == 2
    compare, problems = compared(log, both, lines)
    assert ((compare.dropped, compare.held), problems) == ((1, 1), [])
    assert found(log, both) == []
    with reading(log) as connection:
        assert dropping(connection, both)[1] == []
    segments.prune(log, new, second, Attribution("test", "me", NOW + 1, "y"))
    assert found(log, both) == []
    for key, missing in (("audit.key", new), ("new.key", signer)):
        one = load_trusted([public_file(run_dir / key)])
        problems = compared(log, one, lines)[1]
        assert ["not trusted" in one for one in problems] == [True]
        assert missing.key_id in problems[0]
    assert found(log, trusted), "the log begins with a seal of the new key"


@pytest.mark.parametrize("how", ["nobody", "a forger", "another segment"])
def test_a_log_whose_beginning_was_dropped_without_a_signed_record_is_found(
    log: sa.Engine, trusted: Trusted, signer: Signer, run_dir: Path, how: str
) -> None:
    """A genuine seal is not enough: who drops what it covers must have signed that."""
    seal = sealed(log, trusted, signer)
    by = Attribution("test", "me", NOW, "x")
    if how == "nobody":
        change(log, "DELETE FROM audit WHERE seq < :seq", seq=seal.seq)
    elif how == "a forger":
        segments.prune(log, load_signer(run_dir / "forger.key"), seal, by)
    else:
        segments.prune(log, signer, replace(seal, last=seal.last - 1), by)
    with reading(log) as connection:
        words, findings = dropping(connection, trusted)
    assert words is None
    assert "who dropped the records before it" in findings[0].problem


def test_a_log_that_begins_with_a_forged_seal_is_found(
    log: sa.Engine, trusted: Trusted, signer: Signer, run_dir: Path
) -> None:
    chain, _ = followed(log, trusted)
    forger = load_signer(run_dir / "forger.key")
    forged = segments.seal(log, forger, Attribution("test", "me", NOW), chain)
    change(log, "DELETE FROM audit WHERE seq < :seq", seq=forged.seq)
    ((seq, problem),) = found(log, trusted)
    assert seq == forged.seq
    assert "earlier records are missing" in problem
    assert signer


def test_an_altered_seal_is_reported_like_any_record(
    log: sa.Engine, trusted: Trusted, signer: Signer
) -> None:
    head = sign_head(log, "test", signer, NOW)
    seal = sealed(log, trusted, signer)
    change(log, "UPDATE audit SET body = :body WHERE seq = :seq", body=b"{", seq=seal.seq)
    ((seq, problem),) = found(log, trusted)
    assert (seq, "was altered" in problem) == (seal.seq, True)
    assert head is not None
    assert compared(log, trusted, [head.to_json()])[1] == []
    # as the first record, it proves nothing
    change(log, "DELETE FROM audit WHERE seq < :seq", seq=seal.seq)
    assert [seq for seq, _ in found(log, trusted)] == [seal.seq]
    assert len(compared(log, trusted, [head.to_json()])[1]) == 1


def test_records_after_the_verification_prevent_a_seal(
    log: sa.Engine, trusted: Trusted, signer: Signer
) -> None:
    chain, _ = followed(log, trusted)
    fill(log, 1, begin=NOW)
    with pytest.raises(NotSealedError, match="meanwhile"):
        segments.seal(log, signer, Attribution("test", "me", NOW), chain)
    with reading(log) as connection:
        assert seals(connection) == []


def test_the_audits_own_event_types_are_quarantined_when_received(
    log: sa.Engine, trusted: Trusted, signer: Signer
) -> None:
    sealed(log, trusted, signer)
    with reading(log) as connection:
        (entry,) = [e for e in find(connection, Filter()) if e.type == segments.SEALED]
    assert record_of(entry.body, "test", NOW).type.endswith("quarantined.v1")


LONG = 10_000


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    """10,000 records."""
    engine = open_store(STORES.url(tmp_path_factory.mktemp("log") / "audit.db"), "audit")
    fill(engine, LONG // 2)
    yield engine
    engine.dispose()


def as_stored(value: Any) -> bytes:  # noqa: ANN401 - any column
    if isinstance(value, int):
        return value.to_bytes(8, "big", signed=True)
    return value if isinstance(value, bytes) else str(value).encode()


def from_stored(data: bytes, like: Any) -> tuple[str, object]:  # noqa: ANN401 - any column
    """The SQL expression and the value that store these bytes."""
    if isinstance(like, int):
        return ":value", int.from_bytes(data, "big", signed=True)
    return (":value" if isinstance(like, bytes) else "CAST(:value AS TEXT)"), data


def test_every_single_byte_change_in_a_random_record_is_found(long_log: sa.Engine) -> None:
    """Also where a text becomes invalid UTF-8; no other record is reported.

    Verification compares each record only with its neighbours: it is enough to follow those.
    """
    seed = random.randrange(2**32)  # noqa: S311 - not a secret
    generator = random.Random(seed)  # noqa: S311 - not a secret
    trusted = load_trusted([])
    with long_log.connect() as connection:
        for seq in generator.sample(range(2, LONG), 4):
            before, whole, _ = next(rows(connection, seq - 2, 3))
            for place, (name, value) in enumerate(zip(COLUMNS, whole, strict=True)):
                if value is None or place == 0:
                    continue
                data = as_stored(value)
                for at in range(len(data)):
                    changed = bytearray(data)
                    changed[at] ^= generator.randrange(1, 256)
                    how, new = from_stored(bytes(changed), value)
                    connection.execute(
                        sa.text(f"UPDATE audit SET {name} = {how} WHERE seq = :seq"),  # noqa: S608 - our own columns
                        {"value": new, "seq": seq},
                    )
                    chain = chain_of(connection, trusted)
                    # the first one's predecessor is missing here
                    found = [x.seq for x in chain.follow(next(rows(connection, seq - 2, 3)))]
                    named = [one for one in found if one != before[0]]
                    assert named == [seq], f"seed {seed}: record {seq}, {name}, byte {at}"
                    back, old = from_stored(data, value)
                    connection.execute(
                        sa.text(f"UPDATE audit SET {name} = {back} WHERE seq = :seq"),  # noqa: S608
                        {"value": old, "seq": seq},
                    )
        connection.rollback()


def test_a_change_anywhere_in_a_long_log_is_the_only_finding(long_log: sa.Engine) -> None:
    trusted = load_trusted([])
    seq = random.randrange(1, LONG + 1)  # noqa: S311 - not a secret
    with long_log.connect() as connection:
        chain = chain_of(connection, trusted)
        assert not [x for portion in rows(connection, 0) for x in chain.follow(portion)]
        assert chain.records == LONG
        connection.execute(
            sa.text("UPDATE audit SET body = body || x'00' WHERE seq = :s"), {"s": seq}
        )
        chain = chain_of(connection, trusted)
        named = [x.seq for portion in rows(connection, 0) for x in chain.follow(portion)]
        assert named == [seq]
        connection.rollback()


def test_a_renumbered_record_is_found_where_numbers_have_no_gaps(
    long_log: sa.Engine,
) -> None:
    trusted = load_trusted([])
    with long_log.connect() as connection:
        connection.execute(sa.text("UPDATE audit SET seq = seq + 7 WHERE seq = :s"), {"s": LONG})
        chain = chain_of(connection, trusted)
        (finding,) = [x for portion in rows(connection, 0) for x in chain.follow(portion)]
        assert finding.seq == LONG + 7
        assert "its number was changed" in finding.problem
        connection.rollback()


def test_hashes_match_the_records_that_were_written(long_log: sa.Engine) -> None:
    with long_log.connect() as connection:
        some = next(rows(connection, 0, 50))
    assert all(chained(row[1], row[3:-1], row[-1]) == row[2] for row in some)
    assert all(later[1] == row[2] for row, later in pairwise(some))
