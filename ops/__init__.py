"""What operators and developers run: the command line, and the local stack of real servers."""
