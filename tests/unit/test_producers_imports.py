"""P7: imports are most of a hook's run time."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

ALLOWED = {"pika", "hostlist", "schemas", "producers"}
PROGRAM = """
import json, sys
sys.argv = ["lamplighter-{kind}", "node1"]
from producers import {module}, hook
hook.run(hook.Kind("{kind}"), sys.argv, {{"LAMPLIGHTER_CONFIG": "{config}"}})
import producers.publish
found = {{name.partition(".")[0] for name, module in sys.modules.items() if module is not None}}
print(json.dumps(sorted(found - set(sys.stdlib_module_names))))
"""


@pytest.mark.parametrize(
    ("kind", "module"),
    [("resume", "resume"), ("suspend", "suspend"), ("resume_fail", "resume_fail")],
)
def test_a_hook_imports_only_the_standard_library_pika_hostlist_and_schemas(
    tmp_path: Path, kind: str, module: str
) -> None:
    config = tmp_path / "lamplighter.toml"
    config.write_text(
        'cluster = "x"\n[broker]\nurl = "amqp://x:y@127.0.0.1:1/x"\n'
        '[hooks]\nspool = "spool"\nstate = "clock"\n'
    )
    program = PROGRAM.format(kind=kind, module=module, config=config)
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True
    )
    found = {name for name in json.loads(done.stdout.splitlines()[-1]) if not name.startswith("_")}
    assert found - {"sitecustomize", "distutils-precedence"} <= ALLOWED
    assert "pika" in found
