"""`WORKERS=2 python serve.py` is `uvicorn service:app --workers 2 --no-access-log` at
the address ADDR, with a line on standard output when every worker answers:
`listening on http://127.0.0.1:9090`.
"""

import os

import uvicorn
from uvicorn.supervisors import Multiprocess


def announce(socket):
    host, port = socket.getsockname()
    print(f"listening on http://{host}:{port}", flush=True)


class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        if self.started:
            announce(sockets[0])


class Workers(Multiprocess):
    def init_processes(self):
        super().init_processes()
        if all(process.wait_until_ready(30) for process in self.processes):
            announce(self.sockets[0])
        else:
            self.should_exit.set()


def main():
    workers = int(os.environ.get("WORKERS", "1"))
    host, port = os.environ["ADDR"].rsplit(":", 1)
    config = uvicorn.Config(
        "service:app",
        host=host,
        port=int(port),
        workers=workers,
        access_log=False,
        log_level="warning",
    )
    socket = config.bind_socket()
    if workers > 1:
        Workers(config, sockets=[socket]).run()
    else:
        Server(config).run(sockets=[socket])


if __name__ == "__main__":
    main()
