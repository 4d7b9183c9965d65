"""What goes wrong when this box cannot confine an evaluator."""

from ...errors import DcpError


class ConfinementError(DcpError):
    """A layer of the confinement cannot be given, so no evaluator is started.

    ``layer`` is its name, as ``--allow-weaker-sandbox`` takes it.
    """

    code = "ECONFINEMENT"

    def __init__(self, layer: str, detail: str) -> None:
        super().__init__(
            f"this box cannot confine an evaluator: layer {layer!r} is not available ({detail}). "
            f"Work functions are other people's code, so nothing was started. Make the layer available, "
            f"or accept the weaker sandbox with --allow-weaker-sandbox {layer}"
        )
        self.layer = layer
        self.detail = detail
