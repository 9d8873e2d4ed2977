"""A TCP hop between two agents that can be frozen or cut, and counts what passes. Needs no root."""

import socket
import threading


class Proxy:
    """Forwards connections to 127.0.0.1:port. Count and faults apply to both directions."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.bytes = 0
        self.connections = 0
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._refusing = False
        self._closed = False
        self._sockets = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self):
        """Nothing passes any more, and nobody is told: a dead path."""
        self._flowing.clear()

    def cut(self):
        """Existing connections are closed, new ones too."""
        self._refusing = True
        self._drop_all()

    def restore(self):
        self._refusing = False
        self._flowing.set()

    def close(self):
        self._closed = True
        self._flowing.set()
        self._listener.close()
        self._drop_all()

    def _drop_all(self):
        with self._lock:
            sockets = list(self._sockets)
        for each in sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self):
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing or self._closed:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port), 5)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets.update((client, server))
                self.connections += 1
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._relay, args=(source, sink), daemon=True).start()

    def _relay(self, source, sink):
        """One direction. The first of the two to end takes the other with it."""
        try:
            while True:
                data = source.recv(1 << 18)
                self._flowing.wait()
                if not data:
                    break
                sink.sendall(data)
                with self._lock:
                    self.bytes += len(data)
        except OSError:
            pass
        with self._lock:
            self._sockets -= {source, sink}
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        source.close()
