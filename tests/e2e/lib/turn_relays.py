"""Two clients that we did not write (aioice) send to each other, each by a relay of its own.

usage: turn_relays.py HOST PORT TLS_PORT USER PASSWORD FIRST SECOND; each way is udp, tcp or tls. Prints one JSON object.
"""
import asyncio
import json
import ssl
import sys

from aioice import stun, turn

SIZES = [1, 2, 3, 4, 160, 1000, 1200]
ROUNDS = 20


class Peer(asyncio.DatagramProtocol):
    def __init__(self):
        self.received = asyncio.Queue()

    def datagram_received(self, data, addr):
        self.received.put_nowait((data, addr))


async def relay(way, host, port, tls_port, username, password):
    context = None
    if way == 'tls':
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return await turn.create_turn_endpoint(
        Peer, (host, tls_port if way == 'tls' else port), username, password,
        transport='udp' if way == 'udp' else 'tcp', ssl=context)


async def refused(*server):
    try:
        await relay(*server)
    except stun.TransactionFailed as error:
        return error.response.attributes['ERROR-CODE'][0]
    return None


async def carries(source, sink, to, origin):
    """How many of the packets arrive, in order, unharmed, and from the relay that sent them."""
    arrived = 0
    for number in range(ROUNDS):
        for size in SIZES:
            data = bytes([number]) * size
            source.sendto(data, to)
            got, addr = await asyncio.wait_for(sink.received.get(), 5)
            arrived += (got, addr) == (data, origin)
    return arrived


async def permitted(transport, peer, other, other_address):
    # The first packet binds a channel, without which nothing comes the other way.
    transport.sendto(b'hello', other_address)
    await asyncio.sleep(0.3)
    while not other.received.empty():
        other.received.get_nowait()


async def main():
    host, port, tls_port, user, password, first, second = sys.argv[1:]
    server = (host, int(port), int(tls_port))
    a, on_a = await relay(first, *server, user, password)
    b, on_b = await relay(second, *server, user, password)
    at_a, at_b = a.get_extra_info('sockname'), b.get_extra_info('sockname')
    await permitted(a, on_a, on_b, at_b)
    await permitted(b, on_b, on_a, at_a)
    result = {
        'there': await carries(a, on_b, at_b, at_a),
        'back': await carries(b, on_a, at_a, at_b),
        'expected': ROUNDS * len(SIZES),
        'wrong_password': await refused(first, *server, user, 'wrong'),
        'wrong_user': await refused(second, *server, 'nobody', password),
    }
    a.close()
    b.close()
    await asyncio.sleep(0.2)
    print(json.dumps(result))


asyncio.run(main())
