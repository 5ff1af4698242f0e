"""Why a replay is refused: what it would do is not what was asked for, or would do harm."""


class ReplayRefused(Exception):
    """Nothing was changed; `reason` is the stable word, the text says what to do."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
