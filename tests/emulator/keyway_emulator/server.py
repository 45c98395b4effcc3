"""One process, one port: moto's application with the patches, a readiness line, and an inventory for tests.

It owns the process: port, signals, the lock around each request. It knows no service.

Requests are answered one at a time. moto keeps its state in plain dictionaries and is not made for threads: two calls
at once can end in "dictionary changed size during iteration", which AWS would never answer. The interpreter lock would
let only one run anyway, so the lock costs nothing.
"""

import argparse
import json
import os
import signal
import sys
import threading
import traceback
import warnings

# Before moto is imported: it reads these once.
os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # 2 s of parsing for images nobody here starts
os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")  # roles attach arn:aws:iam::aws:policy/...
os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")

from moto.moto_server.werkzeug_app import (  # noqa: E402
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server  # noqa: E402

from . import install, inventory  # noqa: E402

PREFIX = "/_keyway/"

# What an environment is made of. moto imports a service when it is first asked, 1.3 s in all: a caller who measures would
# take that for the caller's own.
SERVICES = (
    "acm applicationautoscaling ec2 ecr ecs elasticache elbv2 iam logs rds resourcegroupstaggingapi route53"
    " secretsmanager ssm sts wafv2"
).split()


class QuietHandler(MotoRequestHandler):
    """No line per request: the fault proxy of the tests keeps the log of calls."""

    def log_request(self, *_args, **_kwargs):
        return None


class Application:
    def __init__(self) -> None:
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.one_at_a_time = threading.Lock()
        for service in SERVICES:
            self.moto.app_instances[service] = self.moto.create_app(service)

    def __call__(self, environ, start_response):
        path = environ.get("PATH_INFO", "")
        with self.one_at_a_time:
            try:
                if path.startswith(PREFIX):
                    return self.own(path.removeprefix(PREFIX), start_response)
                # Consumed under the lock: some of moto's answers are generators.
                return [b"".join(self.moto(environ, start_response))]
            except Exception:
                traceback.print_exc()
                start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
                return [traceback.format_exc(limit=0).encode()]

    def own(self, path, start_response):
        """`ready` for those who wait, `inventory` (everything alive, read from moto's state and not through its API)."""
        if path == "ready":
            body = {"ready": True}
        elif path == "inventory":
            body = inventory.everything()
        else:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"known: ready, inventory\n"]
        text = json.dumps(body, default=str).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
        return [text]


def main(argv) -> int:
    parser = argparse.ArgumentParser(prog="serve.py", description="moto with the patches of this folder")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument(
        "--until-stdin-closes",
        action="store_true",
        help="end when the parent ends, however it ends: nothing is left behind by a killed test",
    )
    arguments = parser.parse_args(argv)
    # Codes that AWS answers but its service model does not list (UnsupportedCertificate) are no news here.
    warnings.filterwarnings("ignore", message=".*does not match an error shape.*")
    install()
    server = make_server(arguments.host, arguments.port, Application(), threaded=True, request_handler=QuietHandler)
    server.daemon_threads = True
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: os._exit(0))
    if arguments.until_stdin_closes:
        # Ctrl-C at a terminal reaches the whole group; the parent decides when this ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_leave_with_parent, daemon=True).start()
    url = f"http://{arguments.host}:{server.server_port}"
    print(json.dumps({"url": url}), flush=True)
    server.serve_forever()
    return 0


def _leave_with_parent() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)
