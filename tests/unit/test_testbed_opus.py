"""The simulated OPUS answers as the real one did, in every phase, to every request."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest
import requests

from tests.testbed.opus import PATH, Opus

# What OPUS at 4487bcb with Bottle 0.13.4 and SLURMManager answered: the phase before, the phase sent (with
# an error_msg, as multipart/form-data), whether scp found the jobdata; status, words, phase and error after.
ANSWERS = json.loads((Path(__file__).parents[1] / "testbed" / "opus_answers.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("before", sorted({answer[0] for answer in ANSWERS}))
def test_each_answer_is_the_recorded_one(before: str) -> None:
    with Opus() as opus:
        for _, sent, jobdata, *recorded in (a for a in ANSWERS if a[0] == before):
            job = opus.add("ID", len(opus.jobs) + 1, before)
            job.jobdata = jobdata
            form = {"jobid": job.process_id, "phase": sent, "error_msg": "Quota dépassé €"}
            parts = {name: (None, value) for name, value in form.items()}
            answer = requests.post(opus.url + PATH, files=parts, timeout=20)
            words = re.search(r"<pre>(.*?)</pre>", answer.text)
            told = html.unescape(words[1]) if words else answer.text
            assert [answer.status_code, told, job.phase, job.error] == recorded, sent


def test_a_urlencoded_form_is_read_as_latin_1() -> None:
    with Opus() as opus:
        job = opus.add("ID", 1)
        form = {"jobid": "1", "phase": "ERROR", "error_msg": "dépassé"}
        assert requests.post(opus.url + PATH, data=form, timeout=20).status_code == 200
        assert job.error == "dÃ©passÃ©"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"X-Real-IP": "10.0.0.9"}, 403),
        ({"X-Forwarded-For": "10.0.0.9"}, 403),
        ({"X-Real-IP": "1127.0.0.13", "X-Forwarded-For": "10.0.0.9"}, 200),
    ],
)
def test_the_address_is_believed_from_headers_and_compared_in_part(
    headers: dict[str, str], status: int
) -> None:
    with Opus() as opus:
        opus.add("ID", 1)
        form = {"jobid": "1", "phase": "EXECUTING"}
        answer = requests.post(opus.url + PATH, data=form, headers=headers, timeout=20)
        assert answer.status_code == status
