"""A simulated cloud at a fixed port whose servers run a slurmd; writes clouds.yaml for it."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.testbed.simcloud import credentials
from tests.testbed.simcloud.handle import SimCloud
from tests.testbed.simcloud.settings import Config, HookSpec, Settings

POWER = """
case $2 in
power_on) exec slurmd -b -N "$1" ;;
power_off) [ -e "/run/slurmd-$1.pid" ] && kill -9 "$(cat "/run/slurmd-$1.pid")" ;;
esac
"""


def main() -> None:
    """Run until SIGTERM."""
    hook = HookSpec(
        arguments=["/bin/sh", "-c", POWER, "sh", "{name}", "{event}"],
        log_file="/var/log/cloud/power.log",
        environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    with SimCloud(Config(settings=Settings(boot_seconds=3.0), hook=hook), port=9000) as cloud:
        Path("/run/clouds.yaml").write_text(
            "clouds:\n"
            "  simulated:\n"
            "    auth_type: v3applicationcredential\n"
            "    auth:\n"
            f"      auth_url: {cloud.auth_url}\n"
            f"      application_credential_id: {credentials.APPLICATION_CREDENTIAL_ID}\n"
            f"      application_credential_secret: {credentials.APPLICATION_CREDENTIAL_SECRET}\n"
        )
        Path("/run/cloud.ready").touch()
        signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main()
