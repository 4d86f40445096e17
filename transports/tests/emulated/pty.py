"""A serial port that leads to a TCP port: prints the device's path, then carries bytes both ways until its input ends.

usage: pty.py HOST:PORT [DEVICE]     DEVICE: a name to link the device to, so that it can come back
"""

import os
import select
import socket
import sys
import tty

host, port = sys.argv[1].rsplit(":", 1)
far = socket.create_connection((host, int(port)))
near, device = os.openpty()
tty.setraw(device)
path = os.ttyname(device)
if len(sys.argv) > 2:
    os.symlink(path, sys.argv[2])
print(path, flush=True)
while True:
    readable, _, _ = select.select([near, far, sys.stdin], [], [])
    if sys.stdin in readable:
        break
    if near in readable:
        far.sendall(os.read(near, 4096))
    if far in readable:
        data = far.recv(4096)
        if not data:
            break
        os.write(near, data)
if len(sys.argv) > 2:
    os.unlink(sys.argv[2])
