"""The contract between the hub, the front spawner and its child, attribute by attribute.

A new JupyterHub may bring an attribute that nobody thought about: the table then has to say what becomes of
it.
"""

from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub.spawner import LocalProcessSpawner, Spawner

from jupyterhub_daas.spawners import DaasSpawner
from jupyterhub_daas.spawners.backends.local.session import LocalSession
from jupyterhub_daas.spawners.delegation import PULL, PUSH, TO_CHILD, DelegatingSpawner

DELEGATED = {
    "start", "stop", "poll", "progress", "get_url", "create_certs", "move_certs", "delete_forever",
    "get_state", "load_state", "clear_state", "start_timeout",
}  # fmt: skip
PUSHED_ON_SET = {"port"}
FROM_ROW = {"name", "display_name", "server", "last_activity"}
CHILD_ONLY = {
    "cmd", "args", "environment", "env", "env_keep", "get_env", "get_args", "ip", "default_url",
    "notebook_dir", "disable_user_config", "debug", "hub_connect_url", "format_string", "template_namespace",
    "cpu_limit", "cpu_guarantee", "mem_limit", "mem_guarantee", "ssl_alt_names",
    "ssl_alt_names_include_local",
}  # fmt: skip
OUTER_ONLY = {
    # options: presentation, never enforcement
    "options_form", "options_from_form", "options_from_query", "get_options_form", "run_options_from_form",
    "apply_user_options", "user_options",
    # hooks
    "pre_spawn_hook", "post_stop_hook", "auth_state_hook", "progress_ready_hook", "run_pre_spawn_hook",
    "run_post_stop_hook", "run_auth_state_hook",
    # scopes: the hub reads them
    "server_token_scopes", "oauth_roles", "oauth_scopes",
    # the hub's bookkeeping
    "pending", "ready", "active", "consecutive_failure_limit",
    # polling: the child's own is never started
    "start_polling", "stop_polling", "poll_and_notify", "add_poll_callback", "wait_for_death",
    "death_interval",
    # refused in the configuration
    "group_overrides", "apply_group_overrides",
}  # fmt: skip
REFUSED = {"rename"}
IGNORED = {"db"}

TABLE = (
    set(TO_CHILD) | set(PUSH) | set(PULL) | DELEGATED | PUSHED_ON_SET | FROM_ROW | CHILD_ONLY | OUTER_ONLY
    | REFUSED | IGNORED
)  # fmt: skip


def test_the_table_has_each_public_attribute_of_the_installed_spawner() -> None:
    public = {name for name in vars(Spawner) if not name.startswith("_")}
    assert sorted(public - TABLE) == []


def test_the_table_has_nothing_that_is_gone() -> None:
    assert sorted(name for name in TABLE if not hasattr(Spawner, name)) == []


@pytest.mark.parametrize("name", sorted(DELEGATED - {"start_timeout"} | REFUSED))
def test_what_is_delegated_is_overridden(name: str) -> None:
    assert getattr(DaasSpawner, name) is not getattr(Spawner, name)


@pytest.mark.parametrize("cls", [LocalSession])
@pytest.mark.parametrize(
    "name", sorted(each for each in OUTER_ONLY if each.endswith("_hook") or each.startswith("options"))
)
def test_no_child_overrides_what_only_the_front_spawner_runs(cls: type[Spawner], name: str) -> None:
    assert getattr(cls, name) is getattr(LocalProcessSpawner, name)


class Child(Spawner):  # type: ignore[misc]
    """A child that says what it was given."""

    async def start(self) -> str:
        return "http://127.0.0.1:1"

    async def stop(self, now: bool = False) -> None:
        return

    async def poll(self) -> int | None:
        return None

    def load_state(self, state: dict[str, Any]) -> None:
        if "api_token" in state:
            self.api_token = state["api_token"]


class Front(DelegatingSpawner):
    """The front spawner without a gate."""


def front(**given: Any) -> Front:
    """Return a front spawner as the hub would build it."""
    user = SimpleNamespace(name="amara")
    return Front(user=user, oauth_client_id="client", public_url="https://x.example/", **given)


def test_the_child_gets_what_the_hub_gave() -> None:
    outer = front(cookie_options={"samesite": "lax"}, internal_ssl=True, user_options={"cmd": "evil"})
    given = outer.given()
    assert set(given) == set(TO_CHILD)
    assert given["cookie_options"] == {"samesite": "lax"}
    assert given["internal_ssl"] is True
    assert given["oauth_client_id"] == "client"


def test_the_child_never_gets_the_persons_options() -> None:
    outer = front(user_options={"account": "other", "cmd": "evil"})
    assert "user_options" not in outer.given()
    child = Child(user_options={"cmd": "evil"})
    outer.adopt(child)
    assert child.user_options == {}


async def test_what_the_hub_sets_reaches_the_child_at_build_and_at_start() -> None:
    outer, child = front(), Child()
    outer.api_token, outer.oauth_access_scopes = "first", ["access:servers!user=amara"]
    outer.adopt(child)
    assert (child.api_token, child.oauth_access_scopes) == ("first", ["access:servers!user=amara"])
    outer.api_token, outer.cert_paths = "second", {"keyfile": "k"}
    await outer.start()
    assert (child.api_token, child.cert_paths) == ("second", {"keyfile": "k"})


def test_a_stored_token_of_the_child_does_not_replace_the_new_one() -> None:
    outer, child = front(), Child()
    outer.api_token, outer.record.child = "new", {"api_token": "old"}
    outer.adopt(child)
    assert child.api_token == "new"


def test_the_childs_times_are_taken_over() -> None:
    outer = front()
    outer.adopt(Child(http_timeout=77, poll_interval=3, poll_jitter=0.5, will_resume=True, start_timeout=100))
    assert (outer.http_timeout, outer.poll_interval, outer.poll_jitter, outer.will_resume) == (
        77,
        3,
        0.5,
        True,
    )
    # Our own deadline must fire first, to say why and to clean up.
    assert outer.start_timeout > 100


async def test_a_token_that_the_child_kept_is_taken_over() -> None:
    class Resuming(Child):
        async def start(self) -> str:
            self.api_token = "kept"
            return "http://127.0.0.1:1"

    outer = front()
    outer.api_token = "new"
    outer.adopt(Resuming())
    await outer.start()
    assert outer.api_token == "kept"


def test_a_port_that_a_job_reports_reaches_the_child() -> None:
    outer, child = front(), Child()
    outer.adopt(child)
    outer.port = 4711
    assert child.port == 4711
