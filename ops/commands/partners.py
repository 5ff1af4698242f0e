"""`tallyhook partners`: the group, with the commands that its other modules add to it."""

from operations.partners import changes, importing, pause_commands, trial
from operations.partners.command import app

__all__ = ["app", "changes", "importing", "pause_commands", "trial"]
