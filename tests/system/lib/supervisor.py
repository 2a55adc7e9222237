"""What systemd does for Type=notify."""
import os
import socket


class Supervisor:
    def __init__(self, directory):
        self.path = directory / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(30)

    def environment(self):
        return {**os.environ, "NOTIFY_SOCKET": str(self.path)}

    def heard(self):
        return self.socket.recv(4096).decode().splitlines()
