"""The configuration of each service: what differs from stock, for one machine without a broker."""

import configparser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PORTS = ("keystone", "glance", "placement", "neutron", "nova", "metadata", "cinder")
DATABASES = ("keystone", "glance", "placement", "neutron", "nova_api", "nova_cell0", "nova_cell1", "cinder")
HOST = "lab"

Section = Mapping[str, object]
Settings = Mapping[str, Section]


@dataclass(frozen=True)
class Places:
    """Where a cloud is: its folder, the virtual environment, ports, and the password of its accounts."""

    run: Path
    venv: Path
    ports: Mapping[str, int]
    password: str

    def database(self, name: str) -> str:
        """Return a database's URL."""
        return f"sqlite:///{self.run}/db/{name}.sqlite"

    def url(self, service: str, path: str = "") -> str:
        """Return where a service answers."""
        return f"http://127.0.0.1:{self.ports[service]}{path}"

    def file(self, service: str) -> Path:
        """Return a service's configuration file."""
        return self.run / "etc" / service / ("glance-api.conf" if service == "glance" else f"{service}.conf")


def _database(places: Places, name: str) -> Section:
    return {"connection": places.database(name), "sqlite_synchronous": "false"}


def _account(places: Places) -> dict[str, object]:
    return {
        "auth_url": places.url("keystone", "/v3"),
        "auth_type": "password",
        "username": "svc",
        "password": places.password,
        "user_domain_id": "default",
        "project_name": "service",
        "project_domain_id": "default",
    }


def _token(places: Places) -> Section:
    own = {"www_authenticate_uri": places.url("keystone", "/v3"), "service_token_roles_required": "true"}
    return _account(places) | own


def _common(places: Places, service: str, **more: object) -> Section:
    return {"log_file": places.run / "log" / f"{service}.log", **more}


def _keystone(places: Places) -> Settings:
    keys = {"key_repository": places.run / "fernet"}
    return {
        "DEFAULT": _common(places, "keystone"),
        "database": _database(places, "keystone"),
        "token": {"provider": "fernet"},
        "fernet_tokens": keys,
        "fernet_receipts": keys,
        "credential": keys,
        "identity": {"password_hash_rounds": 4},
    }


def _placement(places: Places) -> Settings:
    return {
        "DEFAULT": _common(places, "placement"),
        "api": {"auth_strategy": "keystone"},
        "placement_database": {**_database(places, "placement"), "sync_on_startup": "true"},
        "keystone_authtoken": _token(places),
    }


def _glance(places: Places) -> Settings:
    return {
        "DEFAULT": _common(
            places, "glance", enabled_backends="local:file", worker_self_reference_url=places.url("glance")
        ),
        "database": _database(places, "glance"),
        "glance_store": {"default_backend": "local"},
        "local": {"filesystem_store_datadir": places.run / "images"},
        "os_glance_staging_store": {"filesystem_store_datadir": places.run / "staging"},
        "os_glance_tasks_store": {"filesystem_store_datadir": places.run / "tasks"},
        "oslo_concurrency": {"lock_path": places.run / "lock.d"},
        "paste_deploy": {
            "flavor": "keystone",
            "config_file": places.venv / "etc/glance/glance-api-paste.ini",
        },
        "keystone_authtoken": _token(places),
    }


def _neutron(places: Places) -> Settings:
    return {
        "DEFAULT": _common(
            places,
            "neutron",
            state_path=places.run / "state/neutron",
            core_plugin="ml2",
            service_plugins="router",
            transport_url="fake:///",
            auth_strategy="keystone",
            api_paste_config=places.venv / "etc/neutron/api-paste.ini",
            notify_nova_on_port_status_changes="false",
            notify_nova_on_port_data_changes="false",
            dhcp_agent_notification="false",
            host=HOST,
        ),
        "database": _database(places, "neutron"),
        "oslo_concurrency": {"lock_path": places.run / "lock.d"},
        "ml2": {
            "type_drivers": "local,flat",
            "tenant_network_types": "local",
            "mechanism_drivers": "openvswitch",
            "extension_drivers": "port_security",
        },
        "securitygroup": {"enable_security_group": "true"},
        "keystone_authtoken": _token(places),
    }


def _nova(places: Places) -> Settings:
    account = {**_account(places), "region_name": "RegionOne"}
    return {
        "DEFAULT": _common(
            places,
            "nova",
            state_path=places.run / "state/nova",
            host=HOST,
            my_ip="127.0.0.1",
            transport_url="fake:///",
            compute_driver="guest_driver.GuestDriver",
            # Nobody reports a port as wired.
            vif_plugging_is_fatal="false",
            vif_plugging_timeout=0,
            reserved_host_memory_mb=0,
            resume_guests_state_on_host_boot="true",
            metadata_listen_port=places.ports["metadata"],
        ),
        "api": {"auth_strategy": "keystone"},
        "api_database": _database(places, "nova_api"),
        "database": _database(places, "nova_cell1"),
        "oslo_concurrency": {"lock_path": places.run / "lock.d"},
        "quota": {"driver": "nova.quota.DbQuotaDriver"},
        "scheduler": {"discover_hosts_in_cells_interval": 5},
        "cinder": {
            **_account(places),
            "catalog_info": "volumev3::publicURL",
            "os_region_name": "RegionOne",
        },
        "keystone_authtoken": _token(places),
        "service_user": {**account, "send_service_user_token": "true"},
        "placement": account,
        "neutron": {
            **account,
            "service_metadata_proxy": "true",
            "metadata_proxy_shared_secret": places.password,
        },
        "glance": account,
    }


def _cinder(places: Places) -> Settings:
    return {
        "DEFAULT": _common(
            places,
            "cinder",
            state_path=places.run / "state/cinder",
            host=HOST,
            my_ip="127.0.0.1",
            transport_url="fake:///",
            auth_strategy="keystone",
            api_paste_config=places.venv / "etc/cinder/api-paste.ini",
            resource_query_filters_file=places.venv / "etc/cinder/resource_filters.json",
            enabled_backends="fake",
            scheduler_driver_init_wait_time=1,
            glance_api_servers=places.url("glance"),
        ),
        "fake": {"volume_driver": "volume_driver.VolumeDriver", "volume_backend_name": "fake"},
        "coordination": {"backend_url": f"file://{places.run}/state/cinder"},
        "database": _database(places, "cinder"),
        "oslo_concurrency": {"lock_path": places.run / "lock.d"},
        "keystone_authtoken": _token(places),
    }


SERVICES = {
    "keystone": _keystone,
    "placement": _placement,
    "glance": _glance,
    "neutron": _neutron,
    "nova": _nova,
    "cinder": _cinder,
}
FOLDERS = "db log pid state/nova state/neutron state/cinder images guests staging tasks fernet lock.d".split()


def write_settings(places: Places) -> None:
    """Make the cloud's folders and write the configuration of each service."""
    for folder in FOLDERS:
        (places.run / folder).mkdir(parents=True, exist_ok=True)
    for service, build in SERVICES.items():
        parser = configparser.RawConfigParser(default_section="no default section")
        for section, entries in build(places).items():
            parser[section] = {key: str(value) for key, value in entries.items()}
        path = places.file(service)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            parser.write(file)
    paste = places.run / "etc/nova/api-paste.ini"
    paste.write_bytes((places.venv / "etc/nova/api-paste.ini").read_bytes())


def environment(places: Places) -> dict[str, str]:
    """Return the variables by which the services find their configuration."""
    etc = places.run / "etc"
    return {
        "OS_KEYSTONE_CONFIG_DIR": str(etc / "keystone"),
        "OS_KEYSTONE_CONFIG_FILES": str(places.file("keystone")),
        "OS_PLACEMENT_CONFIG_DIR": str(etc / "placement"),
        "OS_GLANCE_CONFIG_DIR": str(etc / "glance"),
        "OS_NEUTRON_CONFIG_DIR": str(etc / "neutron"),
        "OS_NEUTRON_CONFIG_FILES": "neutron.conf",
        "OS_NOVA_CONFIG_DIR": str(etc / "nova"),
        "OS_NOVA_DISABLE_EVENTLET_PATCHING": "true",
        "LAB_CINDER_SETTINGS": str(places.file("cinder")),
        "LAB_GUESTS": str(places.run / "guests"),
    }
