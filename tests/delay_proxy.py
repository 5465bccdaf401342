#!/usr/bin/env python3
"""A TCP proxy that delays every byte by a fixed time each way: a wide-area link on loopback.

    delay_proxy.py LISTEN_PORT TARGET_PORT ONE_WAY_MS

Prints "ready PORT" once listening (LISTEN_PORT 0 takes a free one), and at SIGUSR1 "bytes N": how many it has carried.
"""
import asyncio
import signal
import sys

carried = 0


async def pump(reader, writer, delay_s):
    """Reads at once and writes each piece delay_s later, in order; raises when either side is gone."""
    loop = asyncio.get_running_loop()
    queue = asyncio.Queue(maxsize=4096)

    async def drain():
        while True:
            due, piece = await queue.get()
            wait = due - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            if piece is None:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()

    async def fill():
        global carried
        piece = True
        while piece:
            piece = await reader.read(256 * 1024)
            carried += len(piece)
            await queue.put((loop.time() + delay_s, piece or None))

    tasks = [asyncio.create_task(fill()), asyncio.create_task(drain())]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def main():
    listen, target, delay_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000

    async def serve(reader, writer):
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()
            return
        pumps = [asyncio.create_task(pump(*ends, delay_s)) for ends in ((reader, there_writer), (there_reader, writer))]
        try:
            await asyncio.gather(*pumps)
        except OSError:
            # A side that is gone is gone for the other too: one that went on hearing of nothing would take what nobody gets.
            for each in pumps:
                each.cancel()
            for each in (writer, there_writer):
                each.transport.abort()
        for each in (writer, there_writer):
            each.close()

    server = await asyncio.start_server(serve, "127.0.0.1", listen)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lambda: print("bytes", carried, flush=True))
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


asyncio.run(main())
