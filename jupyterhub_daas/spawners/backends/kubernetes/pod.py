"""Build the objects of a session: pure, so that golden files show what the cluster gets.

Whatever carries a session's id is found by its labels. A pod is never root, gains no rights, has no access
to the cluster's API, and asks for exactly what it may use at most. No secret is in it: the session's token
lies in a Secret that the pod owns, and goes with it.
"""

from collections.abc import Mapping
from typing import Any

from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.proposals import Mount, MountMode
from jupyterhub_daas.errors import BackendError
from jupyterhub_daas.spawners.backends.kubernetes import accounts
from jupyterhub_daas.spawners.backends.kubernetes.options import (
    KubernetesOptions,
    Placing,
    PodOptions,
    Volume,
)
from jupyterhub_daas.spawners.backends.names import thing_name

CONTAINER = "session"
PREFIX = "jupyterhub-daas"
HUB, SESSION, PERSON, PART = (f"{PREFIX}/{name}" for name in ("hub", "session", "person", "part"))
# The hub's environment for a session holds its token under these names.
SECRET_VARIABLES = ("JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN")
TOKEN = "token"  # noqa: S105 - the name of a key

Object = dict[str, Any]


def object_name(hub_id: str, session_id: str) -> str:
    """Return the name of all objects of a session: no two sessions ever share one."""
    return thing_name(hub_id.lower(), session_id)


def selector(hub_id: str, session_id: str | None = None) -> str:
    """Return the label selector of a hub's sessions, or of one of them."""
    return f"{HUB}={hub_id}" + (f",{SESSION}={session_id}" if session_id else "")


def home_of(options: KubernetesOptions, username: str) -> str:
    """Return the path of a person's home in a session."""
    return options.home_path.replace("{username}", username)


def build_pod(
    launch: Launch,
    *,
    hub_id: str,
    image: str,
    options: KubernetesOptions,
    pod: PodOptions,
    environment: Mapping[str, str],
    groups: Mapping[str, int] | None = None,
) -> Object:
    """Build the pod of a session; raise BackendError if one of its folders is in none of the volumes.

    `groups` are the person's, with their numbers.
    """
    name = object_name(hub_id, launch.session_id)
    volumes, mounts = _volumes(launch, options, pod)
    metadata = _metadata(launch, hub_id)
    if pod.account_files:
        home = home_of(options, launch.person.username)
        for file, content in accounts.build_files(launch.person, home, groups or {}).items():
            metadata["annotations"][f"{PREFIX}/{file}"] = content
        volumes.append(accounts.volume_of(PREFIX))
        mounts += accounts.mounts()
    container: Object = {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": pod.pull_policy.value,
        "args": [_literal(word) for word in pod.command],
        "ports": [{"name": "session", "containerPort": options.port}],
        "env": [
            *({"name": key, "value": _literal(value)} for key, value in sorted(environment.items())),
            *(
                {"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": TOKEN}}}
                for key in SECRET_VARIABLES
            ),
        ],
        "resources": _resources(launch, options),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    spec: Object = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": options.grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": launch.person.uid,
            "runAsGroup": launch.person.gid,
            "supplementalGroups": accounts.gids_in(groups or {}),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
        **_placement(launch, hub_id, options, pod),
    }
    if pod.pull_secrets:
        spec["imagePullSecrets"] = [{"name": each} for each in pod.pull_secrets]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def build_secret(pod: Object, token: str) -> Object:
    """Build the Secret with a session's token; the pod is there already, and the two go together."""
    metadata = pod["metadata"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": metadata["name"], "labels": metadata["labels"], "ownerReferences": [owner]},
        "type": "Opaque",
        "stringData": {TOKEN: token},
    }


def _metadata(launch: Launch, hub_id: str) -> Object:
    return {
        "name": object_name(hub_id, launch.session_id),
        "labels": {
            HUB: hub_id,
            SESSION: launch.session_id,
            # A label must end with a letter or a digit; the whole name is in the annotation.
            PERSON: launch.person.username.rstrip("._-"),
            PART: "session",
        },
        "annotations": {
            PERSON: launch.person.username,
            f"{PREFIX}/name": launch.session,
            f"{PREFIX}/proposal": launch.proposal,
            f"{PREFIX}/environment": launch.environment.key,
            f"{PREFIX}/flavour": launch.flavour.key,
        },
    }


def _literal(text: str) -> str:
    """Keep Kubernetes from putting variables where the text says $(NAME)."""
    return text.replace("$", "$$")


def _resources(launch: Launch, options: KubernetesOptions) -> Object:
    flavour = launch.flavour
    amounts: dict[str, str] = {}
    if flavour.cpus:
        amounts["cpu"] = f"{round(flavour.cpus * 1000)}m"
    if flavour.memory:
        amounts["memory"] = str(flavour.memory)
    if flavour.storage:
        amounts["ephemeral-storage"] = str(flavour.storage)
    if flavour.gpus:
        amounts[options.gpu_resource] = str(flavour.gpus)
    return {"requests": amounts, "limits": dict(amounts)}


class _Volumes:
    """The volumes of a pod, each source once: a pod that names a claim twice never comes up.

    What is mounted read-only is so by its mount; a volume is, too, if nobody writes to it.
    """

    def __init__(self) -> None:
        self.mounts: list[Object] = []
        self._sources: dict[str, Volume] = {}
        self._written: set[str] = set()

    def mount(self, name: str, volume: Volume, place: Object, *, read_only: bool) -> None:
        """Mount a volume, under the name that it has already if it is there."""
        source = Volume(host_path=volume.host_path, nfs=volume.nfs, claim=volume.claim)
        name = next((key for key, known in self._sources.items() if known == source), name)
        self._sources[name] = source
        if not read_only:
            self._written.add(name)
        self.mounts.append({"name": name, **place, "readOnly": read_only})

    def build(self) -> list[Object]:
        """Return the volumes as the cluster wants them."""
        return [
            {"name": name, **_source(volume, read_only=name not in self._written)}
            for name, volume in self._sources.items()
        ]


def _source(volume: Volume, *, read_only: bool) -> Object:
    if volume.host_path is not None:
        # Never made when it is missing: that would hide a mount that failed on the node.
        return {"hostPath": {"path": volume.host_path, "type": "Directory"}}
    if volume.nfs is not None:
        return {"nfs": {"server": volume.nfs.server, "path": volume.nfs.path, "readOnly": read_only}}
    return {"persistentVolumeClaim": {"claimName": volume.claim, "readOnly": read_only}}


def _volumes(
    launch: Launch, options: KubernetesOptions, pod: PodOptions
) -> tuple[list[Object], list[Object]]:
    home = home_of(options, launch.person.username)
    found = _Volumes()
    own: list[Object] = []
    if options.home is not None:
        sub_path = options.home.sub_path.replace("{username}", launch.person.username)
        found.mount("home", options.home, {"mountPath": home, "subPath": sub_path}, read_only=False)
    else:
        size = {"sizeLimit": str(launch.flavour.storage)} if launch.flavour.storage else {}
        own.append({"name": "home", "emptyDir": size})
        found.mounts.append({"name": "home", "mountPath": home})
    for number, extra in enumerate(pod.volumes):
        found.mount(f"extra-{number}", extra, {"mountPath": extra.path}, read_only=extra.read_only)
    for mount in launch.mounts:
        number, place = _data(mount, options, home)
        read_only = mount.mode is MountMode.READ_ONLY
        found.mount(f"data-{number}", options.data[number], place, read_only=read_only)
    return [*own, *found.build()], found.mounts


def _data(mount: Mount, options: KubernetesOptions, home: str) -> tuple[int, Object]:
    """Find the volume of a folder and the place in it; the longest prefix counts."""
    fitting = [
        (len(data.prefix), number)
        for number, data in enumerate(options.data)
        if mount.source == data.prefix or mount.source.startswith(data.prefix.rstrip("/") + "/")
    ]
    if not fitting:
        raise BackendError(
            "The cluster does not reach a folder of the proposal. Please tell the support team.",
            source=mount.source,
        )
    _, number = max(fitting)
    # By subPath, not by a volume of its own: the node then follows no link out of the volume.
    place: Object = {"mountPath": f"{home}/{mount.target}"}
    below = mount.source[len(options.data[number].prefix.rstrip("/")) :].lstrip("/")
    if below:
        place["subPath"] = below
    return number, place


def _placement(launch: Launch, hub_id: str, options: KubernetesOptions, pod: PodOptions) -> Object:
    tolerations = [each.model_dump(exclude_none=True) for each in pod.tolerations]
    if launch.flavour.gpus:
        # Nodes with GPUs are mostly kept from others by this taint.
        tolerations.append({"key": options.gpu_resource, "operator": "Exists", "effect": "NoSchedule"})
    found: Object = {}
    if pod.node_selector:
        found["nodeSelector"] = dict(pod.node_selector)
    if tolerations:
        found["tolerations"] = tolerations
    if pod.priority_class:
        found["priorityClassName"] = pod.priority_class
    if pod.runtime_class:
        found["runtimeClassName"] = pod.runtime_class
    if options.placing is not None:
        kind = "podAntiAffinity" if options.placing is Placing.SPREAD else "podAffinity"
        others = {"matchLabels": {HUB: hub_id, PART: "session"}}
        term = {"labelSelector": others, "topologyKey": "kubernetes.io/hostname"}
        preferred = [{"weight": 100, "podAffinityTerm": term}]
        found["affinity"] = {kind: {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    return found
