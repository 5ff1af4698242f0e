"""The vocabulary: what an event or command is, which topic carries it, which versions of it exist. No I/O."""
