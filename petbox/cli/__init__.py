"""The frame around every program: options, exit codes, progress, signals, child processes."""
