"""The ends of logs that went with what wrote them: a person reads them for a while after her session."""

# So many logs are kept, so many lines of each.
LOGS, LOG_LINES = 100, 200


class KeptLogs:
    """The last logs of one backend's sessions."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def keep(self, session_id: str, text: str) -> None:
        """Keep a log; the oldest go when there are too many."""
        self._texts[session_id] = text
        while len(self._texts) > LOGS:
            del self._texts[next(iter(self._texts))]

    def read(self, session_id: str) -> str | None:
        """Return what is kept of a session's log."""
        return self._texts.get(session_id)


def last_lines(text: str, lines: int) -> str:
    """Return the last lines of a text."""
    return "".join(text.splitlines(keepends=True)[-lines:])
