"""Where the messages of a local stack end up: a real SMTP server and web hooks for SMS and PUSH, and a page that shows them."""
