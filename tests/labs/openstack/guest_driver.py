"""Nova's virt driver of this lab: each server is a process tree in a network of its own, at its address.

It is nova's own fake driver, which keeps the books, plus `guest.sh`, which is the machine, or QEMU where the
image has a kernel of its own, see qemu_machine.py. One that ends by itself is reported, as a hypervisor
does. A guest outlives nova, and a nova that comes back finds it.

The file `steer/PROJECT_ID` in the cloud's folder brings about what a test cannot otherwise, as a JSON object:

    "fail": true      building fails
    "boot": SECONDS   so long in BUILD
    "dead": true      ACTIVE, and nothing runs inside
    "silent": true    ACTIVE, and does nothing of what its user data say
"""

import base64
import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import qemu_machine
from nova import exception
from nova.compute import power_state
from nova.virt import event, fake, hardware

GUESTS = Path(os.environ["LAB_GUESTS"])
STEER = GUESTS.parent / "steer"
GUEST = Path(__file__).with_name("guest.sh")
LOOK_SECONDS = 0.2


class Guest:
    """One machine: a folder with what Nova gave it, and its first process."""

    def __init__(self, uuid):
        self.uuid, self.folder = uuid, GUESTS / uuid

    def pid(self):
        """Return the first process, None if the machine is off."""
        try:
            pid = int((self.folder / "pid").read_text())
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if self.uuid.encode() in line else None

    def write(self, name, content):
        """Write one of the machine's files, for nobody else to read."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)

    def command(self):
        """Return what is the machine."""
        try:
            return json.loads((self.folder / "command.json").read_text())
        except OSError:
            return [GUEST, self.folder]

    def start(self):
        """Switch the machine on."""
        if self.pid() is not None:
            return
        with (self.folder / "console.log").open("ab") as console:
            process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd=self.folder,
                start_new_session=True,
                env={name: os.environ[name] for name in ("PATH", "LAB_PYTHON", "LAB_BRIDGE", "LAB_GATEWAY")},
            )
        (self.folder / "pid").write_text(str(process.pid))
        threading.Thread(target=process.wait, daemon=True).start()

    def stop(self):
        """Switch the machine off, at once; all that runs in it goes with its first process."""
        while (pid := self.pid()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)


def steering(instance):
    """Return what a test wants of the machines of this project."""
    try:
        return json.loads((STEER / instance.project_id).read_text())
    except (OSError, ValueError):
        return {}


def is_dead(instance):
    """Tell whether a machine was built to have nothing inside."""
    return (Guest(instance.uuid).folder / "dead").exists()


class GuestDriver(fake.FakeDriverWithoutFakeNodes):
    """Run the machines of one host, which is said to be large."""

    vcpus, memory_mb, local_gb = 64, 64 * 1024, 2000

    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self._watched = set()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        while True:
            time.sleep(LOOK_SECONDS)
            for uuid in list(self._watched):
                if Guest(uuid).pid() is None and uuid in self._watched:
                    self._watched.discard(uuid)
                    self.emit_event(event.LifecycleEvent(uuid, event.EVENT_LIFECYCLE_STOPPED))

    def _on(self, instance):
        if not is_dead(instance):
            Guest(instance.uuid).start()
            self._watched.add(instance.uuid)

    def _off(self, instance):
        self._watched.discard(instance.uuid)
        Guest(instance.uuid).stop()

    def spawn(
        self,
        context,
        instance,
        image_meta,
        injected_files,
        admin_password,
        allocations,
        network_info=None,
        **more,
    ):
        """Build a machine and switch it on."""
        steered = steering(instance)
        if steered.get("fail"):
            raise exception.BuildAbortException(instance_uuid=instance.uuid, reason="told to")
        time.sleep(float(steered.get("boot", 0)))
        guest = Guest(instance.uuid)
        guest.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        nets = [
            {"mac": vif["address"], "addresses": [each["address"] for each in vif.fixed_ips()]}
            for vif in (network_info or [])
        ]
        described = {
            "uuid": instance.uuid,
            "name": instance.display_name,
            "hostname": instance.hostname,
            "meta": dict(instance.metadata),
        }
        for name in ("dead", "silent"):
            if steered.get(name):
                guest.write(name, b"")
        guest.write("user_data", base64.b64decode(instance.user_data or ""))
        guest.write("network.json", json.dumps(nets).encode())
        guest.write("meta_data.json", json.dumps(described).encode())
        guest.write("address", (nets[0]["addresses"][0] if nets else "").encode())
        if instance.kernel_id:
            command = qemu_machine.build(
                context, instance, image_meta, guest.folder, injected_files, network_info
            )
            guest.write("command.json", json.dumps(command).encode())
        super().spawn(
            context, instance, image_meta, injected_files, admin_password, allocations, network_info, **more
        )
        self._on(instance)

    def power_on(self, context, instance, *given, **named):
        """Switch a machine on again."""
        super().power_on(context, instance, *given, **named)
        self._on(instance)

    def reboot(self, context, instance, *given, **named):
        """Switch a machine off and on."""
        self._off(instance)
        super().reboot(context, instance, *given, **named)
        self._on(instance)

    def power_off(self, instance, *given, **named):
        """Switch a machine off."""
        self._off(instance)
        super().power_off(instance, *given, **named)

    def destroy(self, context, instance, *given, **named):
        """Remove a machine; what it said stays."""
        self._off(instance)
        for name in qemu_machine.DRIVES:
            (Guest(instance.uuid).folder / name).unlink(missing_ok=True)
        super().destroy(context, instance, *given, **named)

    def get_info(self, instance, use_cache=True):
        """Tell whether a machine is on."""
        known = super().get_info(instance, use_cache)
        off = not is_dead(instance) and Guest(instance.uuid).pid() is None
        return hardware.InstanceInfo(state=power_state.SHUTDOWN if off else known.state)

    def resume_state_on_host_boot(self, context, instance, network_info, *given, **named):
        """Take over a machine after nova came back."""
        self.instances[instance.uuid] = fake.FakeInstance(instance.name, power_state.RUNNING, instance.uuid)
        if Guest(instance.uuid).folder.is_dir():
            self._on(instance)

    def get_console_output(self, context, instance):
        """Return what the machine wrote on its console."""
        try:
            return (Guest(instance.uuid).folder / "console.log").read_bytes()[-100_000:]
        except OSError:
            return b""
