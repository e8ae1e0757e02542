"""Default values and limits of a client."""

from typing import Final

ADDRESS: Final = "127.0.0.1:50051"
ADDRESS_VARIABLE: Final = "CONTEXTPROTOCOL_ADDRESS"
"""The environment variable with the address of clients that are given none."""
TIMEOUT: Final = 30.0
"""The timeout of a call that does not involve a model, in seconds."""
HEALTH_PAUSE: Final = 0.1
"""The pause before a health watch that the server ended is started again, in seconds."""
STOP_TIMEOUT: Final = 1.0
"""How long leaving a stream may take to cancel its turn, in seconds."""
MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024
"""The maximum size of a request that a server accepts."""
