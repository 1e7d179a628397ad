"""The peers: the shortest power programs that one can write for slurm.conf with the OpenStack SDK.

`blocking` starts or stops one server after the other and waits until each has its status; `threaded` does
the same in a thread for each server. Slurm's call is held up until the program ends. An error ends
`blocking`, and one thread of `threaded`. Reads the password from standard input.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bare_client import connect

# The SDK's own interval between two looks at a server.
INTERVAL = 2


def main() -> None:
    """`python -m benchmarks.peer_client AUTH_URL USER PROJECT_ID blocking|threaded resume|suspend COUNT`."""
    auth_url, user, project_id, how, kind, count = sys.argv[1:]
    names = [f"node{number}" for number in range(1, int(count) + 1)]
    compute = connect(auth_url, user, project_id, len(names)).compute

    def act(name: str) -> None:
        server = compute.find_server(name, ignore_missing=False)
        if kind == "resume":
            compute.start_server(server)
            compute.wait_for_server(server, "ACTIVE", interval=INTERVAL, wait=600)
        else:
            compute.stop_server(server)
            compute.wait_for_server(server, "SHUTOFF", interval=INTERVAL, wait=600)

    if how == "blocking":
        for name in names:
            act(name)
    else:
        with ThreadPoolExecutor(len(names)) as pool:
            done = [pool.submit(act, name) for name in names]
        for one in done:
            one.result()


if __name__ == "__main__":
    main()
