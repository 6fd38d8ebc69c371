"""What the hub keeps of a session in its database, version 1.

Any old or foreign content loads: a state that cannot be understood counts as a session that may run.
"""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

VERSION = 1


class Record(BaseModel):
    """One session; `reserved`: resources are held for it, `ran`: it has been up at least once.

    `waiting`: it waits for its turn, and nothing was begun; `note`: what its person is to know of its end.
    `events`: what the last start told, the latest last.
    """

    model_config = ConfigDict(extra="ignore", validate_assignment=True)

    v: int = VERSION
    running: bool = False
    ran: bool = False
    reserved: bool = False
    waiting: bool = False
    note: str = ""
    session_id: str = ""
    proposal: str = ""
    environment: str = ""
    backend: str = ""
    profile: str = ""
    flavour: str = ""
    created: datetime | None = None
    expires_at: datetime | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    events: list[dict[str, Any]] = Field(default_factory=list)
    child: dict[str, Any] = Field(default_factory=dict)

    @property
    def understood(self) -> bool:
        """Tell whether this is enough to find the session again."""
        return not self.running or bool(self.session_id and self.backend)


def read_record(state: object) -> Record:
    """Return the record that a stored state holds, as far as it can be understood."""
    if not isinstance(state, dict):
        return Record()
    if state.get("v") == VERSION:
        try:
            return Record.model_validate(state)
        except ValidationError:
            pass
    return Record(running=bool(state.get("running") or state.get("pid")))


def write_record(record: Record) -> dict[str, Any]:
    """Return the state to store."""
    return record.model_dump(mode="json")
