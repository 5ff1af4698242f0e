"""The vocabulary: every event and command, its topic and its versions. No I/O."""
