"""A process that dials a switchboard and echoes: ``peer_program.py ENDPOINT [KEYFILE SERVERKEY]``."""

import sys
from pathlib import Path

from dcp_worker.actors.base import Actor, handles
from dcp_worker.protocol.curve import CurveKey, DialIn
from dcp_worker.protocol.messages import ForgetJob, Heartbeat
from dcp_worker.protocol.switchboard import Address, LinkEvent, Switchboard

SUPERVISOR = Address(b"supervisor", "supervisor")


class Echo(Actor):
    """Answers heartbeats; for ForgetJob("7") sends heartbeats 0 to 6."""

    @handles(Heartbeat)
    def on_heartbeat(self, message, delivery):
        delivery.reply(message, *delivery.bodies)

    @handles(ForgetJob)
    def on_forget(self, message, _delivery):
        for number in range(int(message.job)):
            self.tell(SUPERVISOR, Heartbeat("peer", number), b"x" * (number % 3))

    @handles(LinkEvent)
    def on_link(self, message, _delivery):
        if message is LinkEvent.UP:
            self.tell(SUPERVISOR, Heartbeat("peer", 0))


class Secret(Actor):
    """Must not be reached from another process."""

    remote = False

    @handles(Heartbeat)
    def on_heartbeat(self, message, delivery):
        delivery.reply(message)


def main() -> None:
    endpoint, *keys = sys.argv[1:]
    board = Switchboard("peer")
    board.start()
    Echo.start(board, "echo")
    Secret.start(board, "secret")
    curve = DialIn(CurveKey.load_or_create(Path(keys[0])), keys[1]) if keys else None
    board.connect(b"supervisor", endpoint, curve, lambda event: board.tell(Address(b"", "echo"), event))
    sys.stdin.read()
    board.stop()


if __name__ == "__main__":
    main()
