"""`python serve.py` is `uvicorn service:app --no-access-log` at the address ADDR, with a
line on standard output when it answers: `listening on http://127.0.0.1:9090`.
"""

import os

import uvicorn


class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        if self.started:
            host, port = sockets[0].getsockname()
            print(f"listening on http://{host}:{port}", flush=True)


def main(app="service:app"):
    host, port = os.environ["ADDR"].rsplit(":", 1)
    config = uvicorn.Config(
        app,
        host=host,
        port=int(port),
        access_log=False,
        log_level="warning",
    )
    Server(config).run(sockets=[config.bind_socket()])


if __name__ == "__main__":
    main()
