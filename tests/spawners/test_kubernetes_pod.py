"""The objects that a cluster gets, compared whole: what is not asked for here is not in them."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.errors import BackendError
from jupyterhub_daas.spawners.backends.kubernetes.options import (
    KubernetesOptions,
    KubernetesProfileOptions,
)
from jupyterhub_daas.spawners.backends.kubernetes.pod import build_pod, build_secret

IMAGE = "registry.facility.example/daas/jupyter@sha256:" + "ab" * 32
HUB_ID, SESSION_ID = "0a1b2c3d", "0123456789abcdef"
NAME = f"daas-{HUB_ID}-{SESSION_ID}"
DATA = [
    {"prefix": "/data", "host_path": "/gpfs"},
    {"prefix": "/data/visitor", "nfs": {"server": "nfs.example", "path": "/export/visitor"}},
    {"prefix": "/archive", "claim": "archive"},
]
PASSWD = """root:x:0:0:root:/root:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
amara:x:20001:30001::/home/amara:/bin/bash
"""
GROUP = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\namara:x:30001:\nid14:x:40014:\n"
# What is only about volumes leaves the account's files out.
BARE = {"account_files": False}
GPU: dict[str, object] = {"key": "gpu", "title": "GPU", "cpus": 8, "memory": "64G", "gpus": 2}


def launch(**more: object) -> Launch:
    """Return the launch of a session."""
    values: dict[str, object] = {
        "session_id": SESSION_ID,
        "session": "brave-curie",
        "person": {"username": "amara", "uid": 20001, "gid": 30001, "groups": ["id14"]},
        "proposal": "20180301",
        "environment": {"key": "jupyter", "title": "Jupyter", "kind": "jupyter"},
        "backend": "kubernetes",
        "profile": "jupyter",
        "flavour": {"key": "small", "title": "Small", "cpus": 1.5, "memory": "4G", "storage": "5G"},
        "mounts": [
            {"source": "/data/id14/20180301/raw", "target": "proposals/20180301/raw", "mode": "ro"},
            {"source": "/data/id14/20180301/work", "target": "proposals/20180301/work", "mode": "rw"},
        ],
    }
    return Launch.model_validate({**values, **more})


def built(
    backend: dict[str, object] | None = None, profile: dict[str, object] | None = None, **more: Any
) -> dict[str, Any]:
    """Return a pod for these options of the backend and of the profile."""
    options = KubernetesOptions.model_validate({"data": DATA, **(backend or {})})
    own = KubernetesProfileOptions.model_validate({"image": IMAGE, **(profile or {})})
    values: dict[str, Any] = {"environment": {"HOME": "/home/amara"}, "launch": launch()}
    values["groups"] = {"id14": 40014}
    values.update(more)
    return build_pod(hub_id=HUB_ID, image=own.image, options=options, pod=own.over(options), **values)


def test_a_pod_word_by_word() -> None:
    host = {"path": "/gpfs", "type": "Directory"}
    size = {"cpu": "1500m", "memory": "4294967296", "ephemeral-storage": "5368709120"}
    token = {"valueFrom": {"secretKeyRef": {"name": NAME, "key": "token"}}}
    assert built() == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": NAME,
            "labels": {
                "jupyterhub-daas/hub": HUB_ID,
                "jupyterhub-daas/session": SESSION_ID,
                "jupyterhub-daas/person": "amara",
                "jupyterhub-daas/part": "session",
            },
            "annotations": {
                "jupyterhub-daas/person": "amara",
                "jupyterhub-daas/name": "brave-curie",
                "jupyterhub-daas/proposal": "20180301",
                "jupyterhub-daas/environment": "jupyter",
                "jupyterhub-daas/flavour": "small",
                "jupyterhub-daas/passwd": PASSWD,
                "jupyterhub-daas/group": GROUP,
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 10,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 20001,
                "runAsGroup": 30001,
                "supplementalGroups": [40014],
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "session",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["jupyterhub-singleuser"],
                    "ports": [{"name": "session", "containerPort": 8888}],
                    "env": [
                        {"name": "HOME", "value": "/home/amara"},
                        {"name": "JUPYTERHUB_API_TOKEN", **token},
                        {"name": "JPY_API_TOKEN", **token},
                    ],
                    "resources": {"requests": size, "limits": size},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "privileged": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [
                        {"name": "home", "mountPath": "/home/amara"},
                        {
                            "name": "data-0",
                            "mountPath": "/home/amara/proposals/20180301/raw",
                            "subPath": "id14/20180301/raw",
                            "readOnly": True,
                        },
                        {
                            "name": "data-0",
                            "mountPath": "/home/amara/proposals/20180301/work",
                            "subPath": "id14/20180301/work",
                            "readOnly": False,
                        },
                        *(
                            {
                                "name": "accounts",
                                "mountPath": f"/etc/{file}",
                                "subPath": file,
                                "readOnly": True,
                            }
                            for file in ("passwd", "group")
                        ),
                    ],
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                }
            ],
            "volumes": [
                {"name": "home", "emptyDir": {"sizeLimit": "5368709120"}},
                {"name": "data-0", "hostPath": host},
                {
                    "name": "accounts",
                    "downwardAPI": {
                        "items": [
                            {
                                "path": file,
                                "fieldRef": {"fieldPath": f"metadata.annotations['jupyterhub-daas/{file}']"},
                            }
                            for file in ("passwd", "group")
                        ]
                    },
                },
            ],
        },
    }


def test_a_secret_word_by_word() -> None:
    pod = built()
    pod["metadata"]["uid"] = "11-22"
    assert build_secret(pod, "s3cret") == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": NAME,
            "labels": pod["metadata"]["labels"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": NAME, "uid": "11-22"}],
        },
        "type": "Opaque",
        "stringData": {"token": "s3cret"},
    }


# --- images


@pytest.mark.parametrize(
    "image",
    [
        "jupyter",
        "jupyter:1.0",
        "jupyter@sha256:abc",
        IMAGE + " --privileged",
        IMAGE + "\n",
        "@sha256:" + "ab" * 32,
    ],
)
def test_refuses_an_image_that_is_not_pinned(image: str) -> None:
    with pytest.raises(ValidationError):
        KubernetesProfileOptions.model_validate({"image": image})


def test_a_tag_is_taken_on_purpose_only() -> None:
    own = {"image": "registry.example/jupyter:1.0", "allow_tag": True, "pull_policy": "Always"}
    container = built(profile=own)["spec"]["containers"][0]
    assert (container["image"], container["imagePullPolicy"]) == ("registry.example/jupyter:1.0", "Always")


def test_a_private_registry_has_its_secrets() -> None:
    pod = built({"pull_secrets": ["facility"]}, {"pull_secrets": ["group"]})
    assert pod["spec"]["imagePullSecrets"] == [{"name": "facility"}, {"name": "group"}]


# --- where it runs


def test_a_gpu_is_asked_for_and_its_taint_put_up_with() -> None:
    pod = built(launch=launch(flavour=GPU))
    size = {"cpu": "8000m", "memory": "68719476736", "nvidia.com/gpu": "2"}
    assert pod["spec"]["containers"][0]["resources"] == {"requests": size, "limits": size}
    assert pod["spec"]["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    other = built({"gpu_resource": "amd.com/gpu"}, launch=launch(flavour=GPU))
    assert other["spec"]["containers"][0]["resources"]["limits"]["amd.com/gpu"] == "2"


def test_nodes_are_chosen_by_backend_and_profile_together() -> None:
    taint = {"key": "daas", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}
    spec = built(
        {"node_selector": {"pool": "daas", "disk": "hdd"}, "tolerations": [taint], "priority_class": "low"},
        {"node_selector": {"disk": "ssd"}, "tolerations": [{"key": "spot"}], "runtime_class": "gvisor"},
    )["spec"]
    assert spec["nodeSelector"] == {"pool": "daas", "disk": "ssd"}
    assert spec["tolerations"] == [taint, {"key": "spot", "operator": "Exists"}]
    assert (spec["priorityClassName"], spec["runtimeClassName"]) == ("low", "gvisor")


@pytest.mark.parametrize(("placing", "kind"), [("spread", "podAntiAffinity"), ("fill", "podAffinity")])
def test_sessions_are_spread_or_fill_nodes(placing: str, kind: str) -> None:
    labels = {"jupyterhub-daas/hub": HUB_ID, "jupyterhub-daas/part": "session"}
    term = {"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"}
    assert built({"placing": placing})["spec"]["affinity"] == {
        kind: {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
    }


# --- volumes


def mounted(source: str, mode: str, **backend: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return volume and mount of one folder of the proposal."""
    mounts = [{"source": source, "target": "proposals/20180301", "mode": mode}]
    spec = built(backend, BARE, launch=launch(mounts=mounts))["spec"]
    return spec["volumes"][-1], spec["containers"][0]["volumeMounts"][-1]


def test_the_longest_prefix_gives_the_volume() -> None:
    volume, mount = mounted("/data/visitor/20180301", "ro")
    assert volume == {
        "name": "data-1",
        "nfs": {"server": "nfs.example", "path": "/export/visitor", "readOnly": True},
    }
    assert (mount["subPath"], mount["readOnly"]) == ("20180301", True)


def test_a_claim_is_read_only_or_writable() -> None:
    volume, mount = mounted("/archive/20180301", "ro")
    assert volume["persistentVolumeClaim"] == {"claimName": "archive", "readOnly": True}
    assert mount["readOnly"] is True
    volume, mount = mounted("/archive/20180301", "rw")
    assert volume["persistentVolumeClaim"] == {"claimName": "archive", "readOnly": False}
    assert mount["readOnly"] is False


def test_a_volume_is_in_a_pod_once() -> None:
    # Under two names a claim would keep the pod from ever coming up.
    everything = {"claim": "everything"}
    mounts = [
        {"source": "/all/20180301/raw", "target": "proposals/20180301/raw", "mode": "ro"},
        {"source": "/all/20180301/work", "target": "proposals/20180301/work", "mode": "rw"},
    ]
    options = {
        "home": {**everything, "sub_path": "homes/{username}"},
        "volumes": [{"path": "/sw", **everything}],
    }
    spec = built({**options, "data": [{"prefix": "/all", **everything}]}, BARE, launch=launch(mounts=mounts))[
        "spec"
    ]
    assert spec["volumes"] == [
        {"name": "home", "persistentVolumeClaim": {"claimName": "everything", "readOnly": False}}
    ]
    places = [
        (mount["name"], mount["mountPath"], mount.get("subPath"), mount["readOnly"])
        for mount in spec["containers"][0]["volumeMounts"]
    ]
    assert places == [
        ("home", "/home/amara", "homes/amara", False),
        ("home", "/sw", None, True),
        ("home", "/home/amara/proposals/20180301/raw", "20180301/raw", True),
        ("home", "/home/amara/proposals/20180301/work", "20180301/work", False),
    ]


def test_a_whole_volume_needs_no_sub_path() -> None:
    _volume, mount = mounted("/archive", "ro")
    assert "subPath" not in mount


@pytest.mark.parametrize("source", ["/elsewhere/20180301", "/archives/20180301", "/dat", "/"])
def test_refuses_a_folder_that_is_in_no_volume(source: str) -> None:
    with pytest.raises(BackendError, match="does not reach a folder"):
        mounted(source, "ro")


def test_a_home_is_a_folder_of_a_volume() -> None:
    home = {"nfs": {"server": "nfs.example", "path": "/home"}, "sub_path": "visitors/{username}"}
    backend: dict[str, object] = {"home": home, "home_path": "/srv/{username}"}
    spec = built(backend, BARE, launch=launch(mounts=()))["spec"]
    assert spec["volumes"] == [
        {"name": "home", "nfs": {"server": "nfs.example", "path": "/home", "readOnly": False}}
    ]
    assert spec["containers"][0]["volumeMounts"] == [
        {"name": "home", "mountPath": "/srv/amara", "subPath": "visitors/amara", "readOnly": False}
    ]


def test_further_volumes_are_read_only_unless_said() -> None:
    software = {"path": "/sw", "host_path": "/opt/sw"}
    scratch = {"path": "/scratch", "claim": "scratch", "read_only": False}
    spec = built({"volumes": [software]}, {"volumes": [scratch], **BARE}, launch=launch(mounts=()))["spec"]
    assert spec["volumes"][1:] == [
        {"name": "extra-0", "hostPath": {"path": "/opt/sw", "type": "Directory"}},
        {"name": "extra-1", "persistentVolumeClaim": {"claimName": "scratch", "readOnly": False}},
    ]
    assert spec["containers"][0]["volumeMounts"][1:] == [
        {"name": "extra-0", "mountPath": "/sw", "readOnly": True},
        {"name": "extra-1", "mountPath": "/scratch", "readOnly": False},
    ]


# --- whatever a value holds, it is data

HOSTILE = ["$(JUPYTERHUB_API_TOKEN)", "$$(HOME)", "`id`", "'; id #", "a\nb: c", "{{ x }}", "é\u2028", "%s"]


def expanded(text: str) -> str:
    """Expand as Kubernetes does: ``$$`` is ``$``; ``$(NAME)``, a variable's value, must not be there."""
    found, index = "", 0
    while index < len(text):
        if text[index] == "$" and index + 1 < len(text):
            assert text[index + 1] != "(", f"{text!r} refers to a variable"
            found += "$" if text[index + 1] == "$" else text[index : index + 2]
            index += 2
        else:
            found += text[index]
            index += 1
    return found


@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_is_data_in_the_pod_whatever_it_holds(value: str) -> None:
    pod = built(profile={"command": ["run", value]}, environment={"TITLE": value})
    container = pod["spec"]["containers"][0]
    assert [expanded(word) for word in container["args"]] == ["run", value]
    assert expanded(container["env"][0]["value"]) == value
    harmless = built(profile={"command": ["run", "x"]}, environment={"TITLE": "x"})
    container["args"][1] = container["env"][0]["value"] = "x"
    assert pod == harmless


@pytest.mark.parametrize("username", ["a.", "a-", "a_", "a._-._-", "a" * 31])
def test_every_username_makes_a_valid_label(username: str) -> None:
    person = {"username": username, "uid": 20001, "gid": 30001}
    metadata = built(launch=launch(person=person))["metadata"]
    assert metadata["labels"]["jupyterhub-daas/person"][-1].isalnum()
    assert metadata["annotations"]["jupyterhub-daas/person"] == username


@pytest.mark.parametrize(
    "wrong", [{"uid": 0}, {"gid": 0}, {"uid": None}, {"gid": None}, {"uid": (1 << 32) - 1}]
)
def test_refuses_root_and_nobody_known(wrong: dict[str, object]) -> None:
    person = {"username": "amara", "uid": 20001, "gid": 30001, **wrong}
    with pytest.raises(ValidationError):
        launch(person=person)


def test_an_image_that_knows_its_people_keeps_its_own_files() -> None:
    pod = built(profile=BARE)
    assert "accounts" not in json.dumps(pod["spec"])
    assert "jupyterhub-daas/passwd" not in pod["metadata"]["annotations"]


def test_no_secret_is_in_a_pod() -> None:
    text = json.dumps(built(environment={"JUPYTERHUB_API_URL": "http://hub"}))
    assert "s3cret" not in text
    assert "JUPYTERHUB_API_TOKEN" in text
