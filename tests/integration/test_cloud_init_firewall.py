"""The firewall of deploy/cloud-init/node.yaml, loaded into a network of its own: only root reaches NFS.

So no user of a node can fetch the munge key as the node did.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

EXAMPLE = Path(__file__).parents[2] / "deploy/cloud-init/node.yaml"
# What a user's process of this network gets: TCP is refused as if nobody listened, and a datagram is not sent.
SCRIPT = """
import json, os, socket, subprocess, sys

nft, rules, user = sys.argv[1], sys.argv[2], int(sys.argv[3])
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
kinds = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
servers = []
for port in (22, 111, 2049):
    for kind in kinds.values():
        server = socket.socket(socket.AF_INET, kind)
        server.bind(("127.0.0.1", port))
        if kind == socket.SOCK_STREAM:
            server.listen()
        servers.append(server)
subprocess.run([nft, "-f", rules], check=True)

def reaches(kind, port):
    with socket.socket(socket.AF_INET, kinds[kind]) as client:
        client.settimeout(5)
        try:
            client.connect(("127.0.0.1", port))
            client.send(b"x")
            client.send(b"x")
        except OSError as error:
            return type(error).__name__
        return "sent"

def all_reached():
    return {f"{kind} {port}": reaches(kind, port) for kind in kinds for port in (22, 111, 2049)}

print(json.dumps(all_reached()))
sys.stdout.flush()
os.setgroups([])
os.setgid(user)
os.setuid(user)
print(json.dumps(all_reached()))
"""
NFS = {f"{kind} {port}" for kind in ("tcp", "udp") for port in (111, 2049)}
OTHER = {"tcp 22", "udp 22"}


def test_only_root_reaches_the_export_with_the_munge_key(run_dir: Path) -> None:
    assert os.geteuid() == 0, "run as root: a network of its own is needed"
    nft = shutil.which("nft")
    assert nft, "install nftables"
    files = yaml.safe_load(EXAMPLE.read_bytes())["write_files"]
    (rules,) = (one["content"] for one in files if one["path"] == "/etc/nftables.conf")
    (run_dir / "rules").write_text(rules)
    words = ["unshare", "--net", sys.executable, "-c", SCRIPT, nft, f"{run_dir}/rules", "64999"]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    root, user = map(json.loads, done.stdout.splitlines())
    assert root == dict.fromkeys(NFS | OTHER, "sent")
    assert {what for what, told in user.items() if told == "sent"} == OTHER
