#!/usr/bin/env python3
"""A slow network for containers, for kernels without netem: delays the frames that they send, and drops some of them.

    wire.py DELAY_MS LOSS_PERCENT CONTAINER...

It has the effect of `tc qdisc add dev eth0 root netem delay DELAY loss LOSS` in each container: it delays and drops whole outgoing Ethernet
frames, and TCP retransmits lost ones. Each container's interface is removed from its bridge and connected to it through this process,
until the process receives SIGTERM. Needs root and iproute2. Prints `ready` when the connections are set up, and at the end the largest
excess delay of a frame: on a busy machine frames are delayed longer than requested.
"""

import ctypes
import fcntl
import heapq
import json
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time

ETH_P_ALL = 0x0003
PACKET_OUTGOING = 4
CLONE_NEWNET = 0x40000000
# With offloads the kernel leaves checksums and segmentation to the network card. They are switched off so that this process reads frames
# as a card would send them: with checksums, and no longer than the MTU.
SIOCETHTOOL = 0x8946
OFFLOADS = {"tx checksums": 0x17, "scatter-gather": 0x19, "tso": 0x1F, "gso": 0x24, "gro": 0x2C}


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def without_offloads(interface):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in OFFLOADS.values():
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(value))
            fcntl.ioctl(control, SIOCETHTOOL, request)


def in_container(pid, function, *arguments):
    """Calls the function in the container's network namespace, in a child process, so that this process keeps its own namespace."""
    import os

    child = os.fork()
    if child == 0:
        with open(f"/proc/{pid}/ns/net") as network:
            ctypes.CDLL(None).setns(network.fileno(), CLONE_NEWNET)
        function(*arguments)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        raise SystemExit(f"cannot set up the interface of process {pid}")


def tap(interface):
    """Opens a socket that reads and writes whole frames of the interface."""
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    end.bind((interface, ETH_P_ALL))
    end.setblocking(False)
    return end


class Wire:
    """The connection between the host's end of a container's interface and its bridge."""

    def __init__(self, number, container):
        pid = int(run("docker", "inspect", "--format", "{{.State.Pid}}", container))
        index = json.loads(run("nsenter", "-t", str(pid), "-n", "ip", "-j", "link", "show", "eth0"))[0]["link_index"]
        links = {link["ifindex"]: link for link in json.loads(run("ip", "-j", "link"))}
        self.host, self.bridge = links[index]["ifname"], links[index]["master"]
        self.near, self.far = f"mwire{number}a", f"mwire{number}b"
        in_container(pid, without_offloads, "eth0")
        run("ip", "link", "add", self.near, "type", "veth", "peer", "name", self.far)
        without_offloads(self.far)
        run("ip", "link", "set", self.host, "nomaster")
        run("ip", "link", "set", self.far, "master", self.bridge)
        for end in (self.near, self.far):
            run("ip", "link", "set", end, "up")
        # Both receive frames that are addressed to other interfaces.
        for end in (self.host, self.near):
            run("ip", "link", "set", end, "promisc", "on")
        self.container_end, self.bridge_end = tap(self.host), tap(self.near)

    def take_down(self):
        subprocess.run(["ip", "link", "del", self.near], capture_output=True)
        # Fails if the container, and with it the interface, no longer exists.
        subprocess.run(["ip", "link", "set", self.host, "master", self.bridge], capture_output=True)


def frames(end):
    while True:
        try:
            frame, address = end.recvfrom(65_536)
        except BlockingIOError:
            return
        except OSError:
            # The interface no longer exists; the other wires continue.
            return
        if address[2] != PACKET_OUTGOING:
            yield frame


def send(end, frame):
    try:
        end.send(frame)
    except OSError:
        # A frame that cannot be sent is lost, as on a real network.
        pass


class ExcessDelay:
    seconds = 0.0


def carry(wires, delay, loss, excess):
    poll = select.epoll()
    directions = {}
    for wire in wires:
        for source, target, is_outward in (
            (wire.container_end, wire.bridge_end, True),
            (wire.bridge_end, wire.container_end, False),
        ):
            directions[source.fileno()] = (source, target, is_outward)
            poll.register(source, select.EPOLLIN)
    due, sent = [], 0
    while True:
        wait = max(0.0, due[0][0] - time.monotonic()) if due else -1
        for descriptor, event in poll.poll(wait):
            source, target, is_outward = directions[descriptor]
            if event & ~select.EPOLLIN:
                poll.unregister(source)
                continue
            for frame in frames(source):
                if not is_outward:
                    send(target, frame)
                elif random.random() >= loss:
                    sent += 1
                    heapq.heappush(due, (time.monotonic() + delay, sent, target, frame))
        now = time.monotonic()
        while due and due[0][0] <= now:
            at, _, target, frame = heapq.heappop(due)
            send(target, frame)
            excess.seconds = max(excess.seconds, now - at)


def main():
    delay_ms, loss_percent, *containers = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    wires, excess = [], ExcessDelay()
    try:
        for number, container in enumerate(containers):
            wires.append(Wire(number, container))
        print("ready", flush=True)
        carry(wires, float(delay_ms) / 1000, float(loss_percent) / 100, excess)
    finally:
        print(f"maximum excess delay {excess.seconds * 1000:.0f} ms", flush=True)
        for wire in wires:
            wire.take_down()


main()
