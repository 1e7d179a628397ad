"""The baseline of the benchmarks fleet and nova: the OpenStack SDK only.

Lists the servers, starts or stops all of them from a pool of threads, lists once a second until all have
the wanted status, and prints the seconds, and those of CPU. Reads the password from standard input.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import requests.adapters
from keystoneauth1.identity.v3 import Password
from keystoneauth1.session import Session
from openstack.connection import Connection


def connect(auth_url: str, user: str, project_id: str, threads: int) -> Connection:
    """A connection for so many threads; reads the password from standard input."""
    http = requests.Session()
    http.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=threads))
    auth = Password(
        auth_url=auth_url,
        username=user,
        password=sys.stdin.readline().strip(),
        project_id=project_id,
        user_domain_id="default",
    )
    return Connection(session=Session(auth=auth, session=http), compute_api_version="2.1")


def main() -> None:
    """`python -m benchmarks.bare_client AUTH_URL USER PROJECT_ID THREADS os-start|os-stop`."""
    auth_url, user, project_id, threads, action = sys.argv[1:]
    wanted = {"os-start": "ACTIVE", "os-stop": "SHUTOFF"}[action]
    compute = connect(auth_url, user, project_id, int(threads) + 2).compute
    compute.get_endpoint()  # log in and discover the endpoint before the clock starts

    def servers() -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        query: dict[str, str | int] = {"limit": 1000}
        while True:
            page = compute.get("/servers/detail", params=query).json()
            found += page["servers"]
            if not page.get("servers_links"):
                return found
            query["marker"] = page["servers"][-1]["id"]

    def act(server_id: str) -> None:
        compute.post(f"/servers/{server_id}/action", json={action: None}).raise_for_status()

    began, cpu = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(int(threads)) as pool:
        list(pool.map(act, [server["id"] for server in servers()]))
    while not all(server["status"] == wanted for server in servers()):
        time.sleep(1.0)
    print(time.monotonic() - began, time.process_time() - cpu)


if __name__ == "__main__":
    main()
