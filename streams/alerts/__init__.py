"""The alerts worker: tells operators what was raised, once a window however often."""
