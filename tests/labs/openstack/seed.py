"""Fill keystone's catalogue and the lab's project, through the APIs; each step can run again."""

from collections.abc import Mapping

import openstack

ADMIN, CLOUD = "lab-admin", "lab"
FLAVORS = (
    ("small", 128, 1, 1),
    ("medium", 256, 2, 1),
    ("absurd", 1 << 30, 1_000_000, 1),  # beyond any quota
    ("nowhere", 128, 1, 100_000_000),  # disk has no quota: no host is that large
)


def publish_all(urls: Mapping[str, tuple[str, str]], password: str) -> None:
    """Publish the services by type, as name and URL, and make the accounts of services and hub."""
    identity = openstack.connect(cloud=ADMIN).identity
    for kind, (name, url) in urls.items():
        service = identity.create_service(type=kind, name=name)
        for interface in ("public", "internal"):
            identity.create_endpoint(
                service_id=service.id, interface=interface, url=url, region_id="RegionOne"
            )
    for username, project_name, roles in (
        ("svc", "service", ("admin", "service")),
        ("hub", "daas", ("member", "reader")),
    ):
        project = identity.create_project(name=project_name, domain_id="default")
        user = identity.create_user(
            name=username, password=password, domain_id="default", default_project_id=project.id
        )
        for name in roles:
            role = identity.find_role(name) or identity.create_role(name=name)
            identity.assign_project_role_to_user(project=project, user=user, role=role)


def fill(network: str, gateway: str) -> None:
    """Make flavors, an image, a network and enough quota."""
    cloud = openstack.connect(cloud=ADMIN)
    project = cloud.identity.find_project("daas", ignore_missing=False)
    for name, memory, cpus, disk in FLAVORS:
        cloud.compute.create_flavor(name=name, ram=memory, vcpus=cpus, disk=disk)
    cloud.create_image(
        "guest", data=b"\0" * 512, disk_format="raw", container_format="bare", visibility="public", wait=True
    )
    made = cloud.network.create_network(
        name="daas", project_id=project.id, provider_network_type="local", shared=True
    )
    cloud.network.create_subnet(
        name="daas",
        network_id=made.id,
        project_id=project.id,
        ip_version=4,
        cidr=f"{network}.0/24",
        gateway_ip=gateway,
        enable_dhcp=False,
        allocation_pools=[{"start": f"{network}.10", "end": f"{network}.250"}],
    )
    cloud.compute.update_quota_set(project.id, instances=30, cores=40)
