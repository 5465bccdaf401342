"""Opens N connections, sends one tap on each, and counts the answers: many_connections.py PORT TOKEN STATION N < cards."""
import asyncio
import json
import resource
import sys


async def tap(port, token, station, card):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"id": card, "station": station}).encode()
    writer.write(b"POST /v1/authorize HTTP/1.1\r\nHost: homeward\r\nAuthorization: Bearer %s\r\nHomeward-Timeout-Ms: 9000\r\n"
                 b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (token.encode(), len(body), body))
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return b'"ALLOWED"' in answer


async def main():
    port, token, station, count = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    cards = sys.stdin.read().split()
    done = await asyncio.gather(*(tap(port, token, station, cards[number % len(cards)]) for number in range(count)),
                                return_exceptions=True)
    print(f"answered {sum(answer is True for answer in done)} of {count}")
    for answer in [answer for answer in done if answer is not True][:3]:
        print(repr(answer), file=sys.stderr)


asyncio.run(main())
