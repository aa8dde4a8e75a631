"""Passes connections on: `python relay.py LISTEN_HOST:PORT TO_HOST:PORT …`, in pairs."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def serve(listen: str, to: str) -> None:
    async def both_ways(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*to.split(":"))
        except OSError:
            writer.close()
            return
        await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer))

    server = await asyncio.start_server(both_ways, *listen.split(":"))
    await server.serve_forever()


async def main(addresses: list[str]) -> None:
    await asyncio.gather(*map(serve, addresses[::2], addresses[1::2]))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
