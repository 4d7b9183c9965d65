"""Everything that crosses a boundary: messages between actors, their framing, and the wires to the outside."""
