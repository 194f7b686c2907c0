"""The command `xenia`, a program: it becomes the interpreter, but for what takes longer to start than to do."""
