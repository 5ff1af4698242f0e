"""
The questions and actions of operators: one folder for each capability.

In each, `store` is its SQL, `routes` its HTTP, `command` its command line, and `loop` what runs by itself.
"""
