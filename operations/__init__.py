"""
Everything that operators can read and do: one folder for each capability.

In each folder, `store` is its SQL, `routes` its HTTP, `command` its command line, and `loop` its background service.
"""
