"""The sink of a local stack: a real SMTP server, web hooks for SMS and PUSH, and a page that shows every message."""
