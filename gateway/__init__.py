"""
The HTTP gateway: it verifies, translates, records and acknowledges.

A 2xx means that the event is committed. Everything else is a refusal with a stable `reason` (`gateway.errors.Reason`).
"""
