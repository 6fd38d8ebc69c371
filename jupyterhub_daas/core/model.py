"""The base of every model: frozen, and closed to fields it does not know."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Refuse unknown fields and any change after construction; also the wire format."""

    model_config = ConfigDict(frozen=True, extra="forbid")
