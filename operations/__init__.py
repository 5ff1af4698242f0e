"""
What an operator can ask and do: one folder a capability.

In each, `store` is its SQL, `routes` its HTTP, `command` its command line, and `loop` what runs by itself.
"""
