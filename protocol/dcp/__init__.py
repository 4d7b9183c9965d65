"""The DCP wire protocol: serialisation, signatures, transport, connections and operations."""
