"""The programs of operators and developers: processes, command line, doctor, and the local stack of real servers."""
