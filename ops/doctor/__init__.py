"""`tallyhook doctor`: looks at everything that the system stands on, changes nothing, and says what to do about what is wrong."""
