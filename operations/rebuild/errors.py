"""Why a projection is not rebuilt."""


class RebuildRefused(Exception):
    """Nothing was changed; `reason` is the stable word, the text says what to do."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
