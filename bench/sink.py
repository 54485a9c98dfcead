"""A collector that takes everything and does nothing with it: python -m bench.sink [MODE], prints
its port. MODE: ok, slow (it never answers), refusing (503)."""

import asyncio
import re
import sys

ANSWERS = {"ok": b"HTTP/1.1 200 OK", "refusing": b"HTTP/1.1 503 Service Unavailable"}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mode: str) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"content-length: (\d+)", head, re.I)
            await reader.readexactly(int(found[1]) if found else 0)
            if mode == "slow":
                await asyncio.sleep(3600)
            writer.write(ANSWERS[mode] + b"\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main(mode: str) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer, mode)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=1 << 24)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "ok"))
