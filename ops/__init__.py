"""What operators and developers run: the processes, the command line, the doctor, and the local stack of real servers."""
