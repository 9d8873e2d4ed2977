"""A TCP hop between two agents that can be frozen, cut or slow, and counts what passes. No root needed."""

import queue
import socket
import threading
import time


class Proxy:
    """Forwards connections to 127.0.0.1:port. Count and faults apply to both directions.

    @param delay  seconds that bytes stay under way, each direction
    """

    def __init__(self, target_port, delay=0.0):
        self.target_port = target_port
        self.delay = delay
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
            if self._refusing or self._closed:  # since it was asked for; later than this, _drop_all() finds it
                self._drop_all()
            for source, sink in ((client, server), (server, client)):
                under_way = queue.Queue(maxsize=256)
                for work in (self._receive, self._deliver):
                    threading.Thread(target=work, args=(source, sink, under_way), daemon=True).start()

    def _receive(self, source, _, under_way):
        """One direction: what is read, and when it may arrive."""
        data = b"-"
        while data:
            try:
                data = source.recv(1 << 18)
            except OSError:
                data = b""
            under_way.put((time.monotonic() + self.delay, data))

    def _deliver(self, source, sink, under_way):
        """The same direction's other end. The first direction to end takes the other along."""
        data = b"-"
        try:
            while data:
                due, data = under_way.get()
                threading.Event().wait(max(0.0, due - time.monotonic()))
                self._flowing.wait()
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
        # The receiving half may wait for room; it ends once it sees the end of its socket.
        while data:
            _, data = under_way.get()
