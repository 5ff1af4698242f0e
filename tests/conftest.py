"""What all tests share: nothing starts until a test asks for it."""

pytest_plugins = ["tests.servers", "tests.promtool"]
