"""The template's `serve`: starts nginx and gunicorn, a worker a processor, and ends with either.

usage: python flask_serve.py PORT NGINX
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
port, nginx = sys.argv[1:]

with tempfile.TemporaryDirectory() as folder:
    Path(folder).chmod(0o755)
    conf = (HERE / "flask_nginx.conf").read_text()
    conf = conf.replace("PORT", port).replace("unix:", f"unix:{folder}/")
    (Path(folder) / "nginx.conf").write_text(conf)
    user = ["-g", "user root;"] if os.geteuid() == 0 else []
    front = [nginx, "-p", folder, "-c", f"{folder}/nginx.conf", "-e", "stderr", *user]
    workers = ["--workers", str(os.cpu_count()), "--timeout", "60", "--worker-class", "sync"]
    gunicorn = [sys.executable, "-m", "gunicorn", *workers, "--chdir", str(HERE)]
    gunicorn += ["--bind", f"unix:{folder}/gunicorn.sock", "flask_server:app"]
    children = [subprocess.Popen(front), subprocess.Popen(gunicorn)]
    signal.signal(signal.SIGTERM, lambda *_: [child.terminate() for child in children])
    os.wait()
    for child in children:
        child.terminate()
        child.wait()
