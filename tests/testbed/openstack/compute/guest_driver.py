"""A virt driver for tests: Nova's fake driver, with persistent guests and faults on demand.

It stores its guests in a file, so that they survive a restart of nova-compute. It waits and fails as
``orders`` says, uploads an image for a snapshot, so that shelving works, and runs the power hook.
The configuration has ``compute_driver = guest_driver.GuestDriver``; the environment variable
``GUEST_DRIVER_FOLDER`` names the folder of ``guests.json`` and ``orders.json``.
"""

import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from nova import exception  # type: ignore[import-not-found]
from nova.compute import power_state, task_states  # type: ignore[import-not-found]
from nova.image import glance  # type: ignore[import-not-found]
from nova.scheduler.client import report  # type: ignore[import-not-found]
from nova.virt import fake  # type: ignore[import-not-found]
from nova.virt.hook import PowerHook  # type: ignore[import-not-found]
from nova.virt.orders import Orders  # type: ignore[import-not-found]

Nova: TypeAlias = Any
"""What Nova passes; it has no types."""

# Before each boot, Nova reads the allocations of every guest of the node, one request per guest, for
# drivers that reshape their resource providers. This driver does not reshape them, and with 200 guests
# on its only node the reads would take a second per boot.
report.SchedulerReportClient.get_allocations_for_provider_tree = lambda *_: {}


class GuestDriver(fake.FakeDriverWithoutFakeNodes):  # type: ignore[misc] # Nova has no types
    """The driver. It passes all arguments except the instance to the fake driver unread."""

    capabilities = fake.FakeDriver.capabilities | {"supports_migrate_to_same_host": True}

    def __init__(self, virtapi: Nova, read_only: bool = False) -> None:  # noqa: FBT001, FBT002 - Nova's signature
        super().__init__(virtapi, read_only)
        folder = Path(os.environ["GUEST_DRIVER_FOLDER"])
        self._file = folder / "guests.json"
        self._orders = Orders(folder / "orders.json")
        self._hook = PowerHook()
        self._saving = threading.Lock()
        if self._file.exists():
            for uuid, (name, state) in json.loads(self._file.read_text()).items():
                self.instances[uuid] = fake.FakeInstance(name, state, uuid)

    def spawn(self, context: Nova, instance: Nova, *rest: Nova, **more: Nova) -> None:
        with self._operation("spawn", instance):
            super().spawn(context, instance, *rest, **more)

    def power_on(self, context: Nova, instance: Nova, *rest: Nova, **more: Nova) -> None:
        with self._operation("power_on", instance):
            super().power_on(context, instance, *rest, **more)

    def power_off(self, instance: Nova, *rest: Nova, **more: Nova) -> None:
        with self._operation("power_off", instance):
            super().power_off(instance, *rest, **more)

    def destroy(self, context: Nova, instance: Nova, *rest: Nova, **more: Nova) -> None:
        with self._operation("destroy", instance):
            super().destroy(context, instance, *rest, **more)

    def reboot(self, context: Nova, instance: Nova, *rest: Nova, **more: Nova) -> None:
        if instance.uuid in self.instances:
            self._set_state("reboot", instance, power_state.SHUTDOWN)
        super().reboot(context, instance, *rest, **more)

    def pause(self, instance: Nova) -> None:
        self._set_state("pause", instance, power_state.PAUSED)

    def unpause(self, instance: Nova) -> None:
        self._set_state("unpause", instance, power_state.RUNNING)

    def suspend(self, _context: Nova, instance: Nova) -> None:
        self._set_state("suspend", instance, power_state.SUSPENDED)

    def resume(self, _context: Nova, instance: Nova, *_rest: Nova, **_more: Nova) -> None:
        self._set_state("resume", instance, power_state.RUNNING)

    def rescue(self, _context: Nova, instance: Nova, *_rest: Nova, **_more: Nova) -> None:
        self._set_state("rescue", instance, power_state.RUNNING)

    def unrescue(self, _context: Nova, instance: Nova) -> None:
        self._set_state("unrescue", instance, power_state.RUNNING)

    def snapshot(
        self,
        context: Nova,
        instance: Nova,
        image_id: str,
        update_task_state: Callable[..., None],
    ) -> None:
        if instance.uuid not in self.instances:
            raise exception.InstanceNotRunning(instance_id=instance.uuid)
        update_task_state(task_state=task_states.IMAGE_PENDING_UPLOAD)
        self._orders.obey("snapshot", instance.display_name)
        update_task_state(
            task_state=task_states.IMAGE_UPLOADING,
            expected_state=task_states.IMAGE_PENDING_UPLOAD,
        )
        about = {"disk_format": "raw", "container_format": "bare", "status": "active"}
        glance.API().update(context, image_id, about, data=io.BytesIO(bytes(1024)))

    def _set_state(self, operation: str, instance: Nova, state: int) -> None:
        with self._operation(operation, instance):
            self.instances[instance.uuid].state = state

    @contextmanager
    def _operation(self, operation: str, instance: Nova) -> Iterator[None]:
        """First obey the orders; afterwards save the guests, and run the power hook if the power changed."""
        self._orders.obey(operation, instance.display_name)
        before = self._runs(instance.uuid)
        yield
        self._save()
        after = self._runs(instance.uuid)
        if before != after:
            event = "power_on" if after else "power_off"
            self._hook.run(self._orders.hook(), instance.uuid, instance.display_name, event)

    def _runs(self, uuid: str) -> bool:
        guest = self.instances.get(uuid)
        return guest is not None and guest.state == power_state.RUNNING

    def _save(self) -> None:
        with self._saving:
            guests = {uuid: (guest.name, guest.state) for uuid, guest in [*self.instances.items()]}
            partial = self._file.with_suffix(".partial")
            partial.write_text(json.dumps(guests))
            partial.replace(self._file)
