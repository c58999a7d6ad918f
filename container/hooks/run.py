"""Runs a model's own code, code/inference.py, between the gateway and a model server.

    run.py check FOLDER     names the packages of its requirements.txt that are missing
    run.py serve FOLDER …   serves requests on a Unix socket; container/hooks.sh starts it

docs/hooks.md says what the code may define.
"""

from petbox_hooks import command

if __name__ == "__main__":
    command.main()
