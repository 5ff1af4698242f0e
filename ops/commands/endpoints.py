"""`tallyhook endpoints`: the group, with the commands that its other modules add to it."""

from operations.endpoints import importing, trial
from operations.endpoints.command import app

__all__ = ["app", "importing", "trial"]
