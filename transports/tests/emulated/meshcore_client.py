"""The official MeshCore client (PyPI meshcore) on a companion port, driven line by line.

usage: meshcore_client.py HOST:PORT CHANNEL SECRET
Says READY, then `heard TYPE HEX` for each datagram; a line `HEX` on its input is sent, answered by `sent` or `refused ...`.
"""

import asyncio
import sys

from meshcore import EventType, MeshCore

DATA_TYPE = 0xFF74


async def main():
    host, port = sys.argv[1].rsplit(":", 1)
    channel, secret = int(sys.argv[2]), bytes.fromhex(sys.argv[3])
    radio = await MeshCore.create_tcp(host, int(port))
    print("name", radio.self_info["name"], flush=True)
    device = await radio.commands.send_device_query()
    print("version", device.payload["ver"], flush=True)
    done = await radio.commands.set_channel(channel, "tombolo", secret)
    if done.type == EventType.ERROR:
        sys.exit(f"set_channel: {done.payload}")
    read_back = await radio.commands.get_channel(channel)
    assert bytes(read_back.payload["channel_secret"]) == secret, read_back.payload

    async def heard(event):
        payload = event.payload
        print("heard", format(payload["data_type"], "04x"), payload["payload"], flush=True)

    radio.subscribe(EventType.CHANNEL_DATA_RECV, heard)
    await radio.start_auto_message_fetching()
    print("READY", flush=True)
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        done = await radio.commands.send_channel_data(channel, DATA_TYPE, bytes.fromhex(line))
        print(f"refused {done.payload}" if done.type == EventType.ERROR else "sent", flush=True)


asyncio.run(main())
