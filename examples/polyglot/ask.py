"""Continue a conversation from Python: ``python ask.py SESSION "A question"``. ``ask.js`` does the same."""

import sys
from contextlib import suppress

from mcp_client import MCPError, MCPSyncClient, SessionExists


def main(session: str, question: str) -> None:
    with MCPSyncClient() as client:
        with suppress(SessionExists):  # perhaps it was begun in another language
            client.create_session(session)
        with client.stream_chat(question, session=session, if_busy="queue") as stream:
            for token in stream:
                print(token, end="", flush=True)
        print()
        print([message.text for message in client.list_messages(session)])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except MCPError as error:
        sys.exit(str(error))
